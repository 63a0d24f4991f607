"""Secondary structure of every residue: NetSurfP-2.0 as FLIP's three FASTA files, and as CSV.

Both call an unresolved residue C, so scoring without the masks would reward a probe for saying C. FLIP has a file of
masks; the CSV files have the columns ``disorder`` (0: unresolved) and ``cb513_mask`` (0: not scored). CB513 repeats a
chain once a scored segment: rows with one sequence are one protein here, scored where any of them is.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from plmdepth.errors import InputError
from plmdepth.proteins.fasta import read_fasta, read_headed
from plmdepth.proteins.tasks.raw import Entry
from plmdepth.proteins.tasks.task import NOT_SCORED
from plmdepth.proteins.tasks.text import lines_of

STATES = MappingProxyType({3: ("H", "E", "C"), 8: ("G", "H", "I", "B", "E", "S", "T", "C")})
"""The classes: helix, strand, coil; and the eight states of DSSP."""

_MARKS = {"0": False, "0.0": False, "1": True, "1.0": True}
_COLUMNS = ("input", "dssp3", "dssp8", "disorder", "cb513_mask")


def read_flip(sequences: Path, labels: Path, mask: Path, dropped: Counter[str]) -> dict[str, tuple[Entry, ...]]:
    """Read train, valid and test (proteins of their own, no random part of train) with three states.

    Args:
        sequences: FASTA of residues.
        labels: FASTA of states, whose headers end in ``SET=train VALIDATION=False``.
        mask: FASTA of 1 for a residue that is resolved and 0 for one that is not.
        dropped: residues that are not scored are counted here.

    Raises:
        InputError: the files do not belong together.
    """
    splits: dict[str, list[Entry]] = {"train": [], "valid": [], "test": []}
    masks, states = (
        dict(read_fasta(mask, "dataset.root")),
        {header.split()[0]: (header, text) for header, text in read_headed(labels, "dataset.root")},
    )
    for name, text in read_fasta(sequences, "dataset.root"):
        header, letters = states.get(name, ("", ""))
        split = _flip_split(header, f"{labels}, {name}")
        resolved = _marks(list(masks.get(name, "")), f"{mask}, {name}")
        _check_lengths(f"{sequences}, {name}", len(text), len(letters), len(resolved))
        label = np.where(resolved, _numbers(letters, STATES[3], f"{labels}, {name}"), NOT_SCORED)
        splits[split].append(Entry(name, text, label))
        dropped[f"{split}: residues that are not resolved"] += int((~resolved).sum())
    return {split: tuple(entries) for split, entries in splits.items()}


def read_csv(path: Path, states: int, split: str, dropped: Counter[str]) -> tuple[Entry, ...]:
    """Read a CSV file; its proteins are named after the split and their first row.

    Args:
        path: the file; sequence and states may be spaced or not.
        states: 3 or 8.
        split: what the file is, for names and counts.
        dropped: merged rows, and residues that are not scored, are counted here.

    Raises:
        InputError: the file is not of this layout, or rows with one sequence disagree.
    """
    chains: dict[str, _Chain] = {}
    for number, chain in enumerate(_chains(path, states), start=1):
        same = chains.get(chain.text)
        chains[chain.text] = chain if same is None else _united(same, chain, f"{path}, row {number}")
        dropped[f"{split}: row merged into an earlier one of the same sequence"] += same is not None
    for chain in chains.values():
        dropped[f"{split}: residues that are not resolved"] += int((~chain.resolved).sum())
        dropped[f"{split}: residues outside the published mask"] += int((chain.resolved & ~chain.mask).sum())
    return tuple(Entry(f"{split}_{chain.number:05d}", chain.text, chain.label) for chain in chains.values())


class _Chain(NamedTuple):
    """What a row says of a protein."""

    number: int
    text: str
    states: np.ndarray
    resolved: np.ndarray
    mask: np.ndarray

    @property
    def label(self) -> np.ndarray:
        return np.where(self.resolved & self.mask, self.states, NOT_SCORED)


def _chains(path: Path, states: int) -> Iterator[_Chain]:
    rows = csv.reader(lines_of(path))
    header = [name.strip() for name in next(rows, [])]  # published with a space before all but the first name
    if missing := [name for name in _COLUMNS if name not in header]:
        raise InputError(f"{path} has no column {missing[0]}; expected {', '.join(_COLUMNS)}")
    for number, fields in enumerate(rows, start=1):
        if len(fields) != len(header):
            raise InputError(f"{path}, row {number} has {len(fields)} fields, expected {len(header)}")
        yield _chain(number, dict(zip(header, fields, strict=True)), states, f"{path}, row {number}")


def _chain(number: int, row: dict[str, str], states: int, place: str) -> _Chain:
    text, letters = ("".join(row[name].split()) for name in ("input", f"dssp{states}"))
    resolved, mask = (_marks(row[name].split(), f"{place}, {name}") for name in ("disorder", "cb513_mask"))
    _check_lengths(place, len(text), len(letters), len(resolved), len(mask))
    return _Chain(number, text, _numbers(letters, STATES[states], place), resolved, mask)


def _marks(values: list[str], place: str) -> np.ndarray:
    if unknown := sorted(set(values) - _MARKS.keys()):
        raise InputError(f"{place}: {unknown[0]!r} is neither 0 nor 1")
    return np.array([_MARKS[value] for value in values], dtype=bool)


def _united(first: _Chain, second: _Chain, place: str) -> _Chain:
    """Score a protein where either row does: CB513 has a row for each of its segments."""
    if not (np.array_equal(first.states, second.states) and np.array_equal(first.resolved, second.resolved)):
        raise InputError(f"{place} has the sequence of row {first.number} and other labels")
    return first._replace(mask=first.mask | second.mask)


def _flip_split(header: str, place: str) -> str:
    """Return the split that a header names: validation is a part of FLIP's train set."""
    attributes = dict(word.split("=", 1) for word in header.split()[1:] if "=" in word)
    if attributes.get("SET") not in ("train", "test"):
        raise InputError(f"{place}: no header '>NAME SET=train VALIDATION=False' (SET: train or test)")
    return "valid" if attributes.get("VALIDATION") == "True" else attributes["SET"]


def _numbers(letters: str, states: tuple[str, ...], place: str) -> np.ndarray:
    if unknown := sorted(set(letters) - set(states)):
        raise InputError(f"{place}: {unknown[0]!r} is none of the states {', '.join(states)}")
    return np.array([states.index(letter) for letter in letters], dtype=np.int64)


def _check_lengths(place: str, *lengths: int) -> None:
    if len(set(lengths)) > 1:
        raise InputError(f"{place}: sequence, labels and masks differ in length ({', '.join(map(str, lengths))})")
