"""``dataset=secondary_structure``: helix, strand or coil of every residue, or the eight states of DSSP.

NetSurfP-2.0 as FLIP's three FASTA files, and as CSV. Both call an unresolved residue C, so scoring without the masks
would reward a probe for saying C. FLIP has a file of masks; the CSV files have the columns ``disorder`` (0: unresolved)
and ``cb513_mask`` (0: not scored). CB513 repeats a chain once a scored segment: rows with one sequence are one protein
here, scored where any of them is.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.labelled import FilesDataset
from plmdepth.proteins.fasta import read_by_id, read_fasta
from plmdepth.proteins.tasks.folder import Folder
from plmdepth.proteins.tasks.held_out import VALID_SHARE, apportioned
from plmdepth.proteins.tasks.published import FLIP, NETSURFP_TESTS
from plmdepth.proteins.tasks.raw import Entry, RawTask
from plmdepth.proteins.tasks.task import NOT_SCORED
from plmdepth.proteins.text import rows_of, truth_of

STATES = MappingProxyType({3: ("H", "E", "C"), 8: ("G", "H", "I", "B", "E", "S", "T", "C")})
"""The classes: helix, strand, coil; and the eight states of DSSP."""

_COLUMNS = ("input", "dssp3", "dssp8", "disorder", "cb513_mask")
_FURTHER_TESTS = ("cb513", "ts115", "casp12")
_TRAIN_CSV = "training_hhblits.csv"
_CB513_SHARES = {"train": 0.6, "valid": 0.1, "test": 0.3}

Splits = dict[str, tuple[Entry, ...]]


@dataclass(frozen=True, kw_only=True)
class NetsurfpDataset(FilesDataset):
    """NetSurfP-2.0 and its tests.

    Attributes:
        states: 3 or 8.
        train: ``flip``: FLIP's three files, which know three states, with a test of its own; ``csv``: the train set as
            CSV, a tenth held out as valid, CB513 as test; ``cb513``: CB513 itself, divided, where no other file knows
            eight states.
    """

    states: int = 3
    train: Literal["flip", "csv", "cb513"] = "flip"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.states not in STATES:
            raise InputError(f"dataset.states must be 3 or 8, got {self.states}")
        if self.states != 3 and self.train == "flip":
            raise InputError("dataset.states=8 needs dataset.train=csv or dataset.train=cb513; FLIP knows three states")

    def read(self) -> RawTask:
        """Read all splits; a further test whose file is missing is listed as absent."""
        folder, dropped = self._folder(), Counter[str]()
        paths = {test: folder.find_if_there(*_names(test)) for test in _FURTHER_TESTS}
        tests = {test: read_csv(path, self.states, test, dropped) for test, path in paths.items() if path is not None}
        absent = {test: f"no {' or '.join(_names(test))}" for test, path in paths.items() if path is None}
        if self.train != "flip":
            folder.find(*_names("cb513"))
            absent["cb513"] = "it is split test" if self.train == "csv" else "it is divided into train, valid and test"
        splits = self._splits(folder, tests, dropped)
        return RawTask("residue", STATES[self.states], splits, dropped=dict(+dropped), absent=absent)

    def _folder(self) -> Folder:
        remotes = (FLIP, *NETSURFP_TESTS) if self.train == "flip" else NETSURFP_TESTS
        names = tuple(name for remote in remotes for name in remote.results)
        return self.folder((_TRAIN_CSV, *names) if self.train == "csv" else names, remotes)

    def _splits(self, folder: Folder, tests: Splits, dropped: Counter[str]) -> Splits:
        if self.train == "flip":
            sequences, labels, mask = (folder.find(name, Path(name).name) for name in FLIP.results)
            return read_flip(sequences, labels, mask, dropped) | tests
        cb513 = tests.pop("cb513")
        if self.train == "cb513":
            return apportioned(cb513, _CB513_SHARES, "cb513") | tests
        train = read_csv(folder.find(_TRAIN_CSV), self.states, "train", dropped)
        parts = apportioned(train, {"train": 1 - VALID_SHARE, "valid": VALID_SHARE}, "netsurfp")
        return parts | {"test": cb513} | tests


def _names(test: str) -> tuple[str, str]:
    """Return what the file of a further test is called: with the columns of both masks, it has been published twice."""
    return f"{test.upper()}_HHblits.csv", f"{test.upper()}.csv"


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
    texts, masks, states = read_by_id(sequences), read_by_id(mask), read_by_id(labels)
    for name, text in read_fasta(sequences, "dataset.root"):
        header, letters = states.get(name, ("", ""))
        split = _flip_split(header, f"{labels}, {name}")
        resolved = _marks(list(masks.get(name, ("", ""))[1]), f"{mask}, {name}")
        _check_lengths(f"{sequences}, {name}", len(text), len(letters), len(resolved))
        label = np.where(resolved, _numbers(letters, STATES[3], f"{labels}, {name}"), NOT_SCORED)
        splits[split].append(Entry(name, text, label))
        dropped[f"{split}: residues that are not resolved"] += int((~resolved).sum())
    for name, (header, _) in states.items():
        if name not in texts:
            dropped[f"{_flip_split(header, f'{labels}, {name}')}: no sequence"] += 1
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
    for number, (place, row) in enumerate(rows_of(path, _COLUMNS), start=1):
        chain = _chain(number, row, states, place)
        same = chains.get(chain.text)
        chains[chain.text] = chain if same is None else _united(same, chain, place)
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


def _chain(number: int, row: dict[str, str], states: int, place: str) -> _Chain:
    text, letters = ("".join(row[name].split()) for name in ("input", f"dssp{states}"))
    resolved, mask = (_marks(row[name].split(), f"{place}, {name}") for name in ("disorder", "cb513_mask"))
    _check_lengths(place, len(text), len(letters), len(resolved), len(mask))
    return _Chain(number, text, _numbers(letters, STATES[states], place), resolved, mask)


def _marks(values: list[str], place: str) -> np.ndarray:
    true = {value: truth_of(value, place) for value in dict.fromkeys(values)}
    return np.array([true[value] for value in values], dtype=bool)


def _united(first: _Chain, second: _Chain, place: str) -> _Chain:
    """Score a protein where either row does: CB513 has a row for each of its segments."""
    if not (np.array_equal(first.states, second.states) and np.array_equal(first.resolved, second.resolved)):
        raise InputError(f"{place} has the sequence of row {first.number} and other labels")
    return first._replace(mask=first.mask | second.mask)


def _flip_split(header: str, place: str) -> str:
    """Return the split that a header names: validation is a part of FLIP's train set."""
    words = (word.split("=", 1) for word in header.split()[1:] if "=" in word)
    attributes = {key.lower(): value for key, value in words}
    split = attributes.get("set", "").lower()
    if split not in ("train", "test") or (split == "train" and "validation" not in attributes):
        raise InputError(f"{place}: no header '>NAME SET=train VALIDATION=False' (SET: train or test)")
    return "valid" if truth_of(attributes.get("validation", "false"), f"{place}, VALIDATION") else split


def _numbers(letters: str, states: tuple[str, ...], place: str) -> np.ndarray:
    letters = letters.upper()
    if unknown := sorted(set(letters) - set(states)):
        raise InputError(f"{place}: {unknown[0]!r} is none of the states {', '.join(states)}")
    return np.array([states.index(letter) for letter in letters], dtype=np.int64)


def _check_lengths(place: str, *lengths: int) -> None:
    if len(set(lengths)) > 1:
        raise InputError(f"{place}: sequence, labels and masks differ in length ({', '.join(map(str, lengths))})")
