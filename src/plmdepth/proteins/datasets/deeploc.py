"""``dataset=subcellular`` and ``dataset=membrane``: where a protein goes, and whether it is in a membrane; DeepLoc 1.0.

As FASTA its headers read ``>ACC Location-M``, with ``test`` behind it in the file that holds all of them. The letter
after the last hyphen says membrane (M), soluble (S) or unknown (U); a location may hold hyphens, dots and a slash
itself. An eleventh location, ``Cytoplasm-Nucleus``, is a pair and no class of the task: it is left out.

The split of the PEER benchmark is CSV with the columns ``prot_seq`` and ``localization``. PEER's own archives hold
pickles, which are not read; the same splits are published as CSV. They have no names of proteins, so a row is named
after its split and its number.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.labelled import FilesDataset
from plmdepth.proteins.fasta import read_headed
from plmdepth.proteins.tasks.held_out import VALID_SHARE, apportioned
from plmdepth.proteins.tasks.published import (
    DEEPLOC_COMPLETE,
    DEEPLOC_HARD,
    DEEPLOC_TEST,
    DEEPLOC_TRAIN,
    DEEPLOC_VALID,
)
from plmdepth.proteins.tasks.raw import MAIN_SPLITS, Entry, RawTask
from plmdepth.proteins.text import rows_of

Target = Literal["location", "membrane"]

LOCATIONS = (
    *("Cell.membrane", "Cytoplasm", "Endoplasmic.reticulum", "Golgi.apparatus", "Lysosome/Vacuole"),
    *("Mitochondrion", "Nucleus", "Peroxisome", "Plastid", "Extracellular"),
)
"""In the order in which the published number labels of the PEER split count them."""

CLASSES: Mapping[Target, tuple[str, ...]] = MappingProxyType(
    {"location": LOCATIONS, "membrane": ("soluble", "membrane")}
)
_TWO_PLACES = "Cytoplasm-Nucleus"
_MEMBRANE = MappingProxyType({"S": 0, "M": 1})
_UNKNOWN = "U"
_PEER_STEMS = {"location": "subcellular_localization", "membrane": "binary_localization"}
_SEQUENCE, _LABEL = "prot_seq", "localization"


@dataclass(frozen=True, kw_only=True)
class DeeplocDataset(FilesDataset):
    """DeepLoc 1.0.

    Attributes:
        target: what is predicted.
        layout: ``light_attention``: a FASTA file a split, setHARD too; ``complete``: DeepLoc's one file, a tenth of its
            train set held out as valid; ``peer``: the split of the PEER benchmark, a CSV file a split.
        train_file: of ``light_attention``; where it is the valid file, a tenth of that is held out as valid instead.
    """

    target: Target
    layout: Literal["light_attention", "complete", "peer"] = "light_attention"
    train_file: str = DEEPLOC_TRAIN.name

    def read(self) -> RawTask:
        """Read all splits."""
        if self.layout == "peer":
            return self._peer()
        if self.layout == "complete":
            folder = self.folder((DEEPLOC_COMPLETE.name,), (DEEPLOC_COMPLETE,))
            return read_complete_deeploc(folder.find(DEEPLOC_COMPLETE.name), self.target)
        return self._light_attention()

    def _light_attention(self) -> RawTask:
        remotes = (DEEPLOC_TRAIN, DEEPLOC_VALID, DEEPLOC_TEST, DEEPLOC_HARD)
        wanted = tuple(each for each in remotes if each is not DEEPLOC_TRAIN or each.name == self.train_file)
        names = {"train": self.train_file, "valid": DEEPLOC_VALID.name, "test": DEEPLOC_TEST.name}
        if self.train_file == DEEPLOC_VALID.name:
            del names["valid"]
        folder = self.folder((*names.values(), DEEPLOC_HARD.name), wanted)
        hard = folder.find_if_there(DEEPLOC_HARD.name)
        files = {split: folder.find(name) for split, name in names.items()} | ({"set_hard": hard} if hard else {})
        raw = read_deeploc(files, self.target)
        return raw if hard else replace(raw, absent={"set_hard": f"no {DEEPLOC_HARD.name}"})

    def _peer(self) -> RawTask:
        stem = _PEER_STEMS[self.target]
        names = {split: f"{stem}_{split}.csv" for split in MAIN_SPLITS}
        folder = self.folder(tuple(names.values()))
        # What the two numbers of the binary task stand for is published nowhere, so they keep their names.
        classes = CLASSES[self.target] if self.target == "location" else ("class_0", "class_1")
        return read_peer({split: folder.find(name) for split, name in names.items()}, classes)


class Located(NamedTuple):
    """A record and what its header says."""

    id: str
    text: str
    location: str
    membrane: str
    is_test: bool


def read_deeploc(files: Mapping[str, Path], target: Target) -> RawTask:
    """Read the splits of Light Attention, a file each; without a ``valid`` file a part of train is held out.

    Raises:
        InputError: a header is not of this layout.
    """
    dropped: Counter[str] = Counter()
    entries = {split: _labelled(split, read_located(path), target, dropped) for split, path in files.items()}
    if "valid" not in entries:
        entries |= apportioned(entries["train"], {"train": 1 - VALID_SHARE, "valid": VALID_SHARE}, "deeploc")
    return RawTask("multiclass", CLASSES[target], entries, dropped=dict(dropped))


def read_complete_deeploc(path: Path, target: Target) -> RawTask:
    """Read the one file of DeepLoc, in which ``test`` marks test proteins; a part of the others is held out.

    Raises:
        InputError: a header is not of this layout, or none is marked.
    """
    located = list(read_located(path))
    if not any(each.is_test for each in located):
        raise InputError(f"{path} marks no protein as test; headers should read '>ACC Location-M test'")
    dropped: Counter[str] = Counter()
    test = _labelled("test", (each for each in located if each.is_test), target, dropped)
    rest = _labelled("train", (each for each in located if not each.is_test), target, dropped)
    parts = apportioned(rest, {"train": 1 - VALID_SHARE, "valid": VALID_SHARE}, "deeploc")
    return RawTask("multiclass", CLASSES[target], {**parts, "test": test}, dropped=dict(dropped))


def read_located(path: Path) -> Iterator[Located]:
    """Yield every record with what its header says.

    Raises:
        InputError: a header is not of this layout.
    """
    known = {location.lower(): location for location in (*LOCATIONS, _TWO_PLACES)}
    for header, text in read_headed(path, "dataset.root"):
        words = header.split()
        place, _, membrane = words[1].rpartition("-") if len(words) > 1 else ("", "", "")
        location = known.get(place.lower(), "")
        if not location or membrane.upper() not in (*_MEMBRANE, _UNKNOWN):
            raise InputError(
                f"{path}: header '>{header[:60]}' should read '>ACC Location-M', with M, S or U at the end"
            )
        marks = [word.lower() for word in words[2:]]
        yield Located(words[0], text, location, membrane.upper(), is_test="test" in marks)


def _labelled(split: str, located: Iterator[Located], target: Target, dropped: Counter[str]) -> tuple[Entry, ...]:
    kept = []
    for each in located:
        if target == "location" and each.location == _TWO_PLACES:
            dropped[f"{split}: {_TWO_PLACES} is two classes"] += 1
        elif target == "membrane" and each.membrane == _UNKNOWN:
            dropped[f"{split}: membrane or soluble is unknown"] += 1
        else:
            number = LOCATIONS.index(each.location) if target == "location" else _MEMBRANE[each.membrane]
            kept.append(Entry(each.id, each.text, np.array(number, dtype=np.int64)))
    return tuple(kept)


def read_peer(files: Mapping[str, Path], classes: tuple[str, ...]) -> RawTask:
    """Read the splits of PEER, a file each.

    Args:
        files: the file of every split.
        classes: what the numbers in the files stand for.

    Raises:
        InputError: a file is not of this layout.
    """
    entries: dict[str, list[Entry]] = {split: [] for split in files}
    for split, path in files.items():
        columns = f"it should have the columns {_SEQUENCE} and {_LABEL}"
        for number, (place, row) in enumerate(rows_of(path, (_SEQUENCE, _LABEL), columns), start=1):
            label = row[_LABEL]
            if not label.isdecimal() or int(label) >= len(classes):
                raise InputError(f"{place}: {_LABEL} is {label!r}, expected 0 to {len(classes) - 1}")
            entries[split].append(Entry(f"{split}_{number:05d}", row[_SEQUENCE], np.array(int(label), dtype=np.int64)))
    return RawTask("multiclass", classes, {split: tuple(rows) for split, rows in entries.items()})
