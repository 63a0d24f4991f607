"""DeepFRI's layout: EC numbers and GO terms of PDB chains, with identity cut-offs for the test chains.

``annot.tsv`` begins with pairs of lines, ``### NAME`` and its terms; then ``### PDB-chain`` heads rows with a column a
name. ``train.txt``, ``valid.txt`` and ``test.txt`` list chains; ``test.csv`` marks with 1 the test chains
with less identity to upstream's whole train set than its column says.
"""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from plmdepth.errors import InputError
from plmdepth.proteins.fasta import read_fasta
from plmdepth.proteins.tasks.raw import Entry, RawTask
from plmdepth.proteins.tasks.text import lines_of

_HEADING = "### "
_ROWS = "PDB-chain"


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
        InputError: a file is not of this layout.
    """
    known, texts = read_annotation(annotation, name), dict(read_fasta(sequences, "dataset.root"))
    places = {term: place for place, term in enumerate(known.terms)}
    dropped: Counter[str] = Counter()
    entries: dict[str, tuple[Entry, ...]] = {}
    for split, path in lists.items():
        chains = [chain for line in lines_of(path) if (chain := line.strip())]
        reasons = {chain: _reason(chain, texts, known, keep_unannotated) for chain in chains}
        dropped += Counter(f"{split}: {reason.format(name=name)}" for reason in reasons.values() if reason)
        kept = [chain for chain in chains if not reasons[chain]]
        entries[split] = tuple(Entry(chain, texts[chain], _marked(known.chains[chain], places)) for chain in kept)
    return RawTask("multilabel", known.terms, entries, read_identity(identity) if identity else {}, dict(dropped))


def read_annotation(path: Path, name: str) -> Annotation:
    """Read the terms under a heading and those of every chain.

    Raises:
        InputError: the file has no such heading, or a chain has a term that the heading does not list.
    """
    lines = lines_of(path)
    terms = next((tuple(below.split("\t")) for line, below in pairwise(lines) if line == _HEADING + name), None)
    start = next((number for number, line in enumerate(lines) if line.startswith(_HEADING + _ROWS)), None)
    columns = [] if start is None else lines[start].removeprefix(_HEADING).split("\t")
    if terms is None or start is None or name not in columns:
        raise InputError(f"{path} is no annotation of {name}: expected '### {name}', its terms, and '### {_ROWS}' rows")
    chains: dict[str, frozenset[str]] = {}
    for chain, found in _rows(lines[start + 1 :], columns.index(name)):
        if unknown := sorted(found - set(terms)):
            raise InputError(f"{path}: {chain} has {unknown[0]}, which is not among the {len(terms)} terms of {name}")
        chains[chain] = chains.get(chain, frozenset()) | found
    return Annotation(terms, chains)


def read_identity(path: Path) -> dict[str, frozenset[str]]:
    """Return the test chains below every identity cut-off: ``identity_30`` for the column ``<30%``.

    Raises:
        InputError: the file has no such columns.
    """
    rows = list(csv.DictReader(lines_of(path)))
    columns = [column for column in (rows[0] if rows else {}) if column.startswith("<") and column.endswith("%")]
    if not columns or _ROWS not in rows[0]:
        raise InputError(f"{path} holds no identity cut-offs: expected columns {_ROWS}, <30%, <40% and so on")
    return {
        f"identity_{column[1:-1]}": frozenset(row[_ROWS] for row in rows if row[column] == "1") for column in columns
    }


def _rows(lines: list[str], column: int) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the chain and the terms of every row; a field may be empty, and an editor may have cut empty ones off."""
    for line in filter(str.strip, lines):
        fields = line.split("\t")
        found = fields[column] if column < len(fields) else ""
        yield fields[0], frozenset(filter(None, found.split(",")))


def _reason(chain: str, texts: Mapping[str, str], known: Annotation, keep_unannotated: bool) -> str:
    """Return why a chain is left out; nothing if it is kept."""
    if chain not in texts:
        return "no sequence"
    if chain not in known.chains:
        return "no row of annotation"
    return "" if known.chains[chain] or keep_unannotated else "no term of {name}"


def _marked(terms: frozenset[str], places: Mapping[str, int]) -> np.ndarray:
    label = np.zeros(len(places), dtype=bool)
    label[[places[term] for term in terms]] = True
    return label
