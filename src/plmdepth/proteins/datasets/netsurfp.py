"""``dataset=secondary_structure``: helix, strand or coil of every residue, or the eight states of DSSP."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.labelled import FilesDataset
from plmdepth.proteins.tasks.folder import Folder
from plmdepth.proteins.tasks.held_out import VALID_SHARE, apportioned
from plmdepth.proteins.tasks.netsurfp import STATES, read_csv, read_flip
from plmdepth.proteins.tasks.published import FLIP, NETSURFP_TESTS
from plmdepth.proteins.tasks.raw import Entry, RawTask

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
