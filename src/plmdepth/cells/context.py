"""What a command line has become: the objects of one run, made once, of which a cell is built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pytorch_lightning import Trainer

from plmdepth.cells.cell import Cell
from plmdepth.controls.control import Control
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.objectives.objective import Objective
from plmdepth.proteins.datasets.dataset import Dataset


class BuildsCell(Protocol):
    """A configured object that knows which cell it asks for."""

    def cell(self, run: "RunContext") -> Cell:
        """Return the cell.

        Raises:
            InputError: something in the configuration is wrong.
        """


@dataclass(frozen=True)
class RunContext:
    """The objects of one run.

    Attributes:
        asked: what is measured, trained or studied.
        option: the name of its option.
        model: the model as configured.
        dataset: where the proteins come from.
        objective: how they are presented.
        control: what is changed to know the answer.
        trainer: makes the trainer, given what a run adds to its options.
        seed: the run's seed.
        outputs: the folder of all records.
        deciding: what each group sets that decides numbers, by group: ``{"is": class, key: value}``.
        precision: the trainer's precision, which decides numbers too.
        lens: the hash of the translators that states are read through; None where there are none.
        parts: the run that each part of what is asked for would be alone.
        trained: the run of the probe that is built upon, and the folder of its record.
        datasets_of: names the data set options of a kind, for messages.
        config: the resolved configuration as text.
    """

    asked: Any
    option: str
    model: LanguageModel
    dataset: Dataset
    objective: Objective
    control: Control
    trainer: Callable[..., Trainer]
    seed: int
    outputs: Path
    deciding: Mapping[str, Mapping[str, Any]]
    precision: str
    lens: str | None = None
    parts: Mapping[str, "RunContext"] = field(default_factory=dict)
    trained: "Trained | None" = None
    datasets_of: Callable[[type], str] = lambda kind: ""  # noqa: ARG005 (none are known)
    config: str = ""

    def options(self, *groups: str) -> dict[str, Any]:
        """Return what these groups and the trainer set that decides numbers, for the identity of a cell."""
        return {group: self.deciding[group] for group in groups} | {"precision": self.precision}


@dataclass(frozen=True)
class Trained:
    """A probe that was trained before.

    Attributes:
        run: its run, on this run's machine.
        folder: its record.
    """

    run: RunContext
    folder: Path
