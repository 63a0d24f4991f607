"""What a cell is: the facts that determine its numbers, and their hash."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

SCHEMA = 1
"""Version of the record and of the numbers: raised when either changes, so no old record is taken for a new one."""

_ID_LENGTH = 12


@dataclass(frozen=True)
class Identity:
    """A cell.

    Attributes:
        entry: ``analyze`` or ``train``.
        model: the model option's name.
        dataset: the data set option's name.
        measurement: the metric's or probe's option name.
        facts: everything that determines the numbers: weights, sequences, objective, metric options, control, seed,
            dtype. Devices, paths, batch sizes and tracking are not among them.
    """

    entry: str
    model: str
    dataset: str
    measurement: str
    facts: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Hash of the facts and the schema."""
        canonical = json.dumps({"schema": SCHEMA, **self.facts}, sort_keys=True, default=str)
        return hashlib.sha256(canonical.encode()).hexdigest()[:_ID_LENGTH]

    def folder(self, outputs: Path) -> Path:
        """Return where the record lies: ``outputs/<entry>/<model>/<dataset>/<metric or probe>/<id>``."""
        return outputs / self.entry / self.model / self.dataset / self.measurement / self.id

    def __str__(self) -> str:
        return f"{self.model} x {self.dataset} x {self.measurement}"


class Place(NamedTuple):
    """What the folder of a record says: `Identity.folder` read backwards."""

    outputs: Path
    entry: str
    model: str
    dataset: str
    measurement: str
    id: str


def place_of(folder: Path) -> Place:
    """Return what the folder of a record says."""
    return Place(folder.parents[4], *folder.parts[-5:])


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested facts with dotted keys, which can be compared, filtered and grouped by."""
    items: dict[str, Any] = {}
    for key, value in nested.items():
        items |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return items
