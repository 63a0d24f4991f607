"""``dataset=fold``: the fold of a CATH domain, with superfamilies held out.

``labels.csv`` has the columns id, cath, fold_topology and split; the sequences are in a FASTA file. The class is the
topology, C.A.T. ``test_family`` holds domains of superfamilies that train knows; ``test_superfamily_holdout`` has
superfamilies, C.A.T.H, that train lacks: remote homology.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.labelled import FilesDataset
from plmdepth.proteins.fasta import read_by_id
from plmdepth.proteins.tasks.raw import Entry, RawTask, without_sequence
from plmdepth.proteins.text import rows_of

HOLDOUT = "test_superfamily_holdout"
_LABELS, _SEQUENCES = "labels.csv", "cath_single_domain_chains.fasta"
_SPLITS = {"train": "train", "valid": "valid", "test_family": "test", HOLDOUT: HOLDOUT}
_COLUMNS = ("id", "cath", "fold_topology", "split")

Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class CathDataset(FilesDataset):
    """CATH topologies of chains that are one domain."""

    def read(self) -> RawTask:
        """Read all splits."""
        folder = self.folder((_LABELS, _SEQUENCES))
        return read_cath(folder.find(_LABELS), folder.find(_SEQUENCES, "*.fasta"))


def read_cath(labels: Path, sequences: Path) -> RawTask:
    """Read the domains with their folds.

    Raises:
        InputError: a file is not of this layout, two rows of an id disagree, or a superfamily that is held out is in
            train.
    """
    rows, texts = _rows(labels), read_by_id(sequences)
    families = {split: {row["cath"] for row in rows if row["split"] == split} for split in ("train", HOLDOUT)}
    if shared := sorted(families["train"] & families[HOLDOUT]):
        raise InputError(f"{labels}: superfamily {shared[0]} is held out and in train as well")
    classes = tuple(sorted({row["fold_topology"] for row in rows}, key=_by_number))
    places = {fold: np.array(place, dtype=np.int64) for place, fold in enumerate(classes)}
    entries: dict[str, list[Entry]] = {split: [] for split in _SPLITS.values()}
    lacking: dict[str, list[str]] = {split: [] for split in _SPLITS.values()}
    for row in rows:
        split = _SPLITS[row["split"]]
        if row["id"] in texts:
            entries[split].append(Entry(row["id"], texts[row["id"]][1], places[row["fold_topology"]]))
        else:
            lacking[split].append(row["id"])
    missing: dict[str, str] = {}
    for split, ids in lacking.items():
        missing |= without_sequence(split, ids, texts)
    return RawTask(
        "multiclass",
        classes,
        {split: tuple(kept) for split, kept in entries.items()},
        dropped=dict(+Counter({f"{split}: no sequence": len(ids) for split, ids in lacking.items()})),
        missing=missing,
    )


def _rows(path: Path) -> list[Row]:
    rows: list[Row] = []
    first: dict[str, tuple[str, Row]] = {}
    wanted = f"it should hold rows with the columns {', '.join(_COLUMNS)}"
    for place, row in rows_of(path, _COLUMNS, wanted):
        row["split"] = row["split"].lower()
        if row["split"] not in _SPLITS:
            raise InputError(f"{path}: {row['id']} is of split {row['split']!r}, expected one of {', '.join(_SPLITS)}")
        known_place, known = first.setdefault(row["id"], (place, row))
        if known != row:
            raise InputError(
                f"{place} has the id of {known_place}, {row['id']}, and other labels; take one of them out"
            )
        rows.append(row)
    if not rows:
        raise InputError(f"{path} holds no row; {wanted}")
    return rows


def _by_number(fold: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in fold.split(".")]
