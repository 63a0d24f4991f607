"""What a cell is: the facts that determine its numbers, and their hash."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
