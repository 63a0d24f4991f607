"""The one way from a cell to its record, whatever it measures or trains."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from plmdepth.results.atomic import write_json
from plmdepth.results.cell_folder import writing_cell
from plmdepth.results.identity import Identity
from plmdepth.results.processes import is_first
from plmdepth.results.provenance import environment
from plmdepth.results.result import Measured, Provenance, Result


@dataclass(frozen=True)
class Findings:
    """What a cell has found, beside the files that it has left.

    Attributes:
        scalars: single numbers by name; NaN or None where undefined.
        intervals: their 95 % intervals, ``{"low", "high"}`` or None.
        measured: where they come from.
        sections: what else ``result.json`` holds, by key.
        seconds_before: what the records took that the cell reads.
    """

    scalars: Mapping[str, Any]
    intervals: Mapping[str, Any]
    measured: Measured
    sections: Mapping[str, Any] = field(default_factory=dict)
    seconds_before: float = 0.0


class Cell(ABC):
    """One run: model x dataset x measurement (x seed)."""

    shared: ClassVar[bool] = False
    """Whether several processes can share it."""

    @property
    @abstractmethod
    def identity(self) -> Identity:
        """What determines its numbers."""

    @property
    def parts(self) -> Sequence["Part"]:
        """The cells whose records it reads; they are run, or found, before it."""
        return ()

    @property
    def announcement(self) -> str:
        """What is said before it runs; empty for nothing."""
        return ""

    def check(self) -> None:  # noqa: B027 (most have nothing to refuse)
        """Refuse what cannot be run, before a folder is opened.

        Raises:
            InputError: it cannot be run.
        """

    @abstractmethod
    def measure(self, staging: Path) -> Findings | None:
        """Do the work, and write tables and tensors to a folder.

        Returns:
            What was found; None from a process that has only done its share.
        """


class Part(NamedTuple):
    """A cell whose record another one reads, with its own resolved configuration as text."""

    cell: Cell
    config: str


def run_cell(cell: Cell, folder: Path, config: str) -> None:
    """Run a cell and write its record.

    Args:
        cell: the cell.
        folder: its folder.
        config: the resolved configuration.

    Raises:
        InputError: it cannot be run.
    """
    cell.check()
    with writing_cell(folder, config) as staging:
        started = time.perf_counter()
        found = cell.measure(staging)
        if found is None or not is_first():
            return  # its share is done
        seconds = found.seconds_before + time.perf_counter() - started
        result = Result(
            identity={"id": folder.name, **cell.identity.facts},
            scalars=found.scalars,
            scalar_intervals=found.intervals,
            provenance=Provenance(**environment(), **found.measured.model_dump(), wall_seconds=round(seconds, 3)),
            **found.sections,
        )
        write_json(staging / "result.json", result.content())
