"""Fold class of CATH domains: ``labels.csv`` (id, cath, fold_topology, split) and a FASTA file.

The class is the topology, C.A.T. ``test_family`` holds domains of superfamilies that train knows;
``test_superfamily_holdout`` has superfamilies, C.A.T.H, that train lacks: remote homology.
"""

import csv
from collections import Counter
from pathlib import Path

import numpy as np

from plmdepth.errors import InputError
from plmdepth.proteins.fasta import read_fasta
from plmdepth.proteins.tasks.raw import Entry, RawTask
from plmdepth.proteins.tasks.text import lines_of

HOLDOUT = "test_superfamily_holdout"
_SPLITS = {"train": "train", "valid": "valid", "test_family": "test", HOLDOUT: HOLDOUT}
_COLUMNS = ("id", "cath", "fold_topology", "split")


def read_cath(labels: Path, sequences: Path) -> RawTask:
    """Read the domains with their folds.

    Raises:
        InputError: a file is not of this layout, or a superfamily that is held out is in train.
    """
    rows, texts = _rows(labels), dict(read_fasta(sequences, "dataset.root"))
    _check_holdout(labels, rows)
    classes = tuple(sorted({row["fold_topology"] for row in rows}, key=_by_number))
    places = {fold: np.array(place, dtype=np.int64) for place, fold in enumerate(classes)}
    entries: dict[str, list[Entry]] = {split: [] for split in _SPLITS.values()}
    dropped: Counter[str] = Counter()
    for row in rows:
        split = _SPLITS[row["split"]]
        if row["id"] in texts:
            entries[split].append(Entry(row["id"], texts[row["id"]], places[row["fold_topology"]]))
        else:
            dropped[f"{split}: no sequence"] += 1
    return RawTask("multiclass", classes, {split: tuple(kept) for split, kept in entries.items()}, dropped=dropped)


def _rows(path: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader(lines_of(path), skipinitialspace=True))
    if not rows or set(_COLUMNS) - set(rows[0]):
        raise InputError(f"{path} should hold rows with the columns {', '.join(_COLUMNS)}")
    for row in rows:
        if row["split"] not in _SPLITS:
            raise InputError(f"{path}: {row['id']} is of split {row['split']!r}, expected one of {', '.join(_SPLITS)}")
    return rows


def _check_holdout(path: Path, rows: list[dict[str, str]]) -> None:
    families = {split: {row["cath"] for row in rows if row["split"] == split} for split in ("train", HOLDOUT)}
    if shared := sorted(families["train"] & families[HOLDOUT]):
        raise InputError(f"{path}: superfamily {shared[0]} is held out and in train as well")


def _by_number(fold: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in fold.split(".")]
