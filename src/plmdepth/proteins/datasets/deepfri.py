"""``dataset=ec``, ``go_bp``, ``go_mf``, ``go_cc``: enzyme classes and GO terms of PDB chains, in DeepFRI's layout.

``annot.tsv`` begins with pairs of lines, ``### NAME`` and its terms; then ``### PDB-chain`` heads rows with a column a
name. ``train.txt``, ``valid.txt`` and ``test.txt`` list chains; ``test.csv`` marks with 1 the test chains with less
identity to upstream's whole train set than its column says.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.labelled import FilesDataset
from plmdepth.proteins.fasta import read_by_id
from plmdepth.proteins.tasks.published import EC, GO
from plmdepth.proteins.tasks.raw import MAIN_SPLITS, Entry, RawTask, without_sequence
from plmdepth.proteins.text import lines_of, rows_of, truth_of

_HEADING = "### "
_ROWS = "PDB-chain"
_EC, _GO = "nrPDB-EC_2020.04_", "nrPDB-GO_2019.06.18_"
_PUBLISHED = {
    "ec": (_EC, "EC-numbers", EC),
    "go_bp": (_GO, "GO-terms (biological_process)", GO),
    "go_mf": (_GO, "GO-terms (molecular_function)", GO),
    "go_cc": (_GO, "GO-terms (cellular_component)", GO),
}


@dataclass(frozen=True, kw_only=True)
class DeepfriDataset(FilesDataset):
    """Multi-label function of protein chains in DeepFRI's layout.

    Attributes:
        terms: which terms are predicted.
        keep_unannotated: keep chains that have no term of these, as all negative; otherwise they are left out.
    """

    terms: Literal["ec", "go_bp", "go_mf", "go_cc"]
    keep_unannotated: bool = False

    def read(self) -> RawTask:
        """Read all splits; files may also be named otherwise, as long as one alone ends as expected."""
        prefix, heading, remotes = _PUBLISHED[self.terms]
        suffixes = ("annot.tsv", "sequences.fasta", *(f"{split}.txt" for split in MAIN_SPLITS), "test.csv")
        folder = self.folder(tuple(prefix + suffix for suffix in suffixes), remotes)
        identity = folder.find_if_there(f"{prefix}test.csv", "*test.csv")
        raw = read_deepfri(
            folder.find(f"{prefix}annot.tsv", "*annot.tsv"),
            folder.find(f"{prefix}sequences.fasta", "*sequences.fasta", "*.fasta"),
            {split: folder.find(f"{prefix}{split}.txt", f"*{split}.txt") for split in MAIN_SPLITS},
            identity,
            heading,
            keep_unannotated=self.keep_unannotated,
        )
        return raw if identity else replace(raw, absent={"identity cut-offs": f"no {prefix}test.csv"})


class Annotation(NamedTuple):
    """The terms of one name, in the file's order, and those of every chain."""

    terms: tuple[str, ...]
    chains: dict[str, frozenset[str]]


def read_deepfri(
    annotation: Path,
    sequences: Path,
    lists: Mapping[str, Path],
    identity: Path | None,
    name: str,
    *,
    keep_unannotated: bool = False,
) -> RawTask:
    """Read one task of DeepFRI's layout.

    Args:
        annotation: the file of terms.
        sequences: FASTA whose headers begin with chain names.
        lists: the chains of every split, a line each.
        identity: the identity cut-offs of the test chains, if there are any.
        name: the heading of the terms, such as ``EC-numbers``.
        keep_unannotated: keep chains that have no term of this name, as all negative; otherwise they are left out,
            for nothing known is not nothing there.

    Raises:
        InputError: a file is not of this layout, or two records of a chain disagree.
    """
    known, texts = read_annotation(annotation, name), read_by_id(sequences)
    places, numbers = {term: place for place, term in enumerate(known.terms)}, np.arange(len(known.terms))
    dropped: Counter[str] = Counter()
    missing: dict[str, str] = {}
    entries: dict[str, tuple[Entry, ...]] = {}
    for split, path in lists.items():
        chains = [chain for line in lines_of(path) if (chain := line.strip())]
        reasons = {chain: _reason(chain, texts, known, keep_unannotated) for chain in chains}
        dropped += Counter(f"{split}: {reason.format(name=name)}" for reason in reasons.values() if reason)
        missing |= without_sequence(split, [chain for chain in reasons if chain not in texts], texts)
        kept = [chain for chain in chains if not reasons[chain]]
        entries[split] = tuple(
            Entry(chain, texts[chain][1], np.isin(numbers, [places[term] for term in known.chains[chain]]))
            for chain in kept
        )
    cut_offs = read_identity(identity) if identity else {}
    return RawTask("multilabel", known.terms, entries, cut_offs, dict(dropped), missing=missing)


def read_annotation(path: Path, name: str) -> Annotation:
    """Read the terms under a heading and those of every chain.

    Raises:
        InputError: the file has no such heading or a term of it twice, a chain has a term that the heading does not
            list, or two rows of a chain disagree.
    """
    lines = lines_of(path)
    heading = next((below.split("\t") for line, below in pairwise(lines) if line.strip() == _HEADING + name), None)
    start = next((number for number, line in enumerate(lines) if line.startswith(_HEADING + _ROWS)), None)
    columns = [] if start is None else lines[start].removeprefix(_HEADING).split("\t")
    if heading is None or start is None or name not in columns:
        raise InputError(f"{path} is no annotation of {name}: expected '### {name}', its terms, and '### {_ROWS}' rows")
    terms = tuple(filter(None, map(str.strip, heading)))
    if twice := [term for term, count in Counter(terms).items() if count > 1]:
        raise InputError(
            f"{path} lists {twice[0]} {terms.count(twice[0])} times among the terms of {name}; list it once"
        )
    chains: dict[str, frozenset[str]] = {}
    lines_of_chains: dict[str, int] = {}
    for number, line in enumerate(lines[start + 1 :], start=start + 2):
        if not line.strip():
            continue
        chain, *fields = line.split("\t")
        column = columns.index(name) - 1  # fields that are empty may have been cut off by an editor
        found = (
            frozenset(filter(None, map(str.strip, fields[column].split(",")))) if column < len(fields) else frozenset()
        )
        if unknown := sorted(found - set(terms)):
            raise InputError(f"{path}: {chain} has {unknown[0]}, which is not among the {len(terms)} terms of {name}")
        if chains.setdefault(chain, found) != found:
            first = lines_of_chains[chain]
            raise InputError(f"{path}: lines {first} and {number} are both of {chain} and differ; take one of them out")
        lines_of_chains.setdefault(chain, number)
    return Annotation(terms, chains)


def read_identity(path: Path) -> dict[str, frozenset[str]]:
    """Return the test chains below every identity cut-off: ``identity_30`` for the column ``<30%``.

    Raises:
        InputError: the file has no such columns, a mark is neither 0 nor 1, or two rows of a chain disagree.
    """
    rows = list(rows_of(path, (_ROWS,), f"it holds no identity cut-offs: expected columns {_ROWS}, <30%, <40%"))
    columns = [column for column in (rows[0][1] if rows else {}) if column.startswith("<") and column.endswith("%")]
    if not columns:
        raise InputError(f"{path} holds no identity cut-offs: expected columns {_ROWS}, <30%, <40% and so on")
    marks: dict[str, tuple[str, list[bool]]] = {}
    for place, row in rows:
        below = [truth_of(row[column], f"{place}, {column}") for column in columns]
        first, known = marks.setdefault(row[_ROWS.lower()], (place, below))
        if known != below:
            raise InputError(
                f"{place} is of the chain of {first}, {row[_ROWS.lower()]}, and differs; take one of them out"
            )
    return {
        f"identity_{column[1:-1]}": frozenset(chain for chain, (_, below) in marks.items() if below[number])
        for number, column in enumerate(columns)
    }


def _reason(chain: str, texts: Mapping[str, object], known: Annotation, keep_unannotated: bool) -> str:
    """Return why a chain is left out; nothing if it is kept."""
    if chain not in texts:
        return "no sequence"
    if chain not in known.chains:
        return "no row of annotation"
    return "" if known.chains[chain] or keep_unannotated else "no term of {name}"
