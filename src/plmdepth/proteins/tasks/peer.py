"""DeepLoc in the split of the PEER benchmark: CSV files with the columns ``prot_seq`` and ``localization``.

PEER's own archives hold pickles, which are not read; the same splits are published as CSV. They have no names of
proteins, so a row is named after its split and its number.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from plmdepth.errors import InputError
from plmdepth.proteins.tasks.raw import Entry, RawTask
from plmdepth.proteins.tasks.text import lines_of

_SEQUENCE, _LABEL = "prot_seq", "localization"


def read_peer(files: Mapping[str, Path], classes: tuple[str, ...]) -> RawTask:
    """Read the splits, a file each.

    Args:
        files: the file of every split.
        classes: what the numbers in the files stand for.

    Raises:
        InputError: a file is not of this layout.
    """
    entries = {split: tuple(_entries(split, path, len(classes))) for split, path in files.items()}
    return RawTask("multiclass", classes, entries)


def _entries(split: str, path: Path, n_classes: int) -> Iterator[Entry]:
    rows = csv.DictReader(lines_of(path), skipinitialspace=True, restval="")
    if not {_SEQUENCE, _LABEL} <= set(rows.fieldnames or ()):
        raise InputError(f"{path} should have the columns {_SEQUENCE} and {_LABEL}, has {rows.fieldnames}")
    for number, row in enumerate(rows, start=1):
        label = row[_LABEL].strip()
        if not label.isdecimal() or int(label) >= n_classes:
            raise InputError(f"{path}, row {number}: {_LABEL} is {label!r}, expected 0 to {n_classes - 1}")
        yield Entry(f"{split}_{number:05d}", row[_SEQUENCE], np.array(int(label), dtype=np.int64))
