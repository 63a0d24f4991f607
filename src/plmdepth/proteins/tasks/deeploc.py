"""DeepLoc 1.0 as FASTA: ``>ACC Location-M``, with ``test`` behind it in the file that holds all of them.

The letter after the last hyphen says membrane (M), soluble (S) or unknown (U); a location may hold hyphens, dots and a
slash itself. An eleventh location, ``Cytoplasm-Nucleus``, is a pair and no class of the task: it is left out.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np

from plmdepth.errors import InputError
from plmdepth.proteins.fasta import read_headed
from plmdepth.proteins.tasks.held_out import VALID_SHARE, apportioned
from plmdepth.proteins.tasks.raw import Entry, RawTask

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
    for header, text in read_headed(path, "dataset.root"):
        words = header.split()
        location, _, membrane = words[1].rpartition("-") if len(words) > 1 else ("", "", "")
        if location not in (*LOCATIONS, _TWO_PLACES) or membrane not in (*_MEMBRANE, _UNKNOWN):
            raise InputError(
                f"{path}: header '>{header[:60]}' should read '>ACC Location-M', with M, S or U at the end"
            )
        yield Located(words[0], text, location, membrane, is_test="test" in words[2:])


def _labelled(split: str, located: Iterator[Located], target: Target, dropped: Counter[str]) -> tuple[Entry, ...]:
    kept = []
    for each in located:
        number, reason = _membrane(each) if target == "membrane" else _location(each)
        if reason:
            dropped[f"{split}: {reason}"] += 1
        else:
            kept.append(Entry(each.id, each.text, np.array(number, dtype=np.int64)))
    return tuple(kept)


def _location(each: Located) -> tuple[int, str]:
    if each.location == _TWO_PLACES:
        return -1, f"{_TWO_PLACES} is two classes"
    return LOCATIONS.index(each.location), ""


def _membrane(each: Located) -> tuple[int, str]:
    return (_MEMBRANE[each.membrane], "") if each.membrane in _MEMBRANE else (-1, "membrane or soluble is unknown")
