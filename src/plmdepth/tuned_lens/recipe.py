"""``probe=tuned_lens``: how the translators of a tuned lens are fitted, and where they are written."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from safetensors.torch import save_file

from plmdepth.cells.cell import Cell
from plmdepth.cells.context import RunContext
from plmdepth.errors import InputError
from plmdepth.metrics.translators import DESCRIPTION_FILE, TRANSLATORS_FILE, LensDescription, Translators
from plmdepth.results.atomic import write_json


@dataclass(frozen=True, kw_only=True)
class TunedLensRecipe:
    """AdamW with a linearly falling learning rate, on coordinates that are nearly white (`coordinates`).

    Attributes:
        steps: optimiser steps.
        batch_size: proteins a step; each pass over them hides other residues.
        learning_rate: the highest learning rate, divided by the width of the model: a step of Adam moves every weight
            by as much, so a translated feature moves by their sum.
        weight_decay: AdamW's weight decay; it pulls towards the logit lens.
        held_out: fraction of the proteins that are kept from fitting, to score the lens.
        valid_every: steps between two scores in the log.
    """

    name: ClassVar[str] = "tuned_lens"
    steps: int = 500
    batch_size: int = 16
    learning_rate: float = 1.0
    weight_decay: float = 0.1
    held_out: float = 0.125
    valid_every: int = 100

    def __post_init__(self) -> None:
        for option in ("steps", "batch_size", "valid_every"):
            if getattr(self, option) < 1:
                raise InputError(f"probe.{option} must be at least 1, got {getattr(self, option)}")
        if not self.learning_rate > 0:
            raise InputError(f"probe.learning_rate must be above 0, got {self.learning_rate}")
        if not self.weight_decay >= 0:
            raise InputError(f"probe.weight_decay must be at least 0, got {self.weight_decay}")
        if not 0 < self.held_out < 1:
            raise InputError(f"probe.held_out must be above 0 and below 1, got {self.held_out}")

    def cell(self, run: RunContext) -> Cell:
        """Return the cell that fits the lens.

        Raises:
            InputError: something in the configuration is wrong.
        """
        from plmdepth.tuned_lens.run import LensCell  # noqa: PLC0415 (a cell knows its recipe)

        return LensCell.of(run)

    def rate(self, step: int) -> float:
        """Return the learning rate at a step as a share of the highest."""
        return max(0.0, 1 - step / self.steps)


def write_lens(folder: Path, translators: Translators, description: LensDescription) -> None:
    """Write a lens where `read_lens` finds it.

    Raises:
        InputError: the fit diverged; nothing is written.
    """
    tensors = {"weight": translators.weight, "bias": translators.bias}
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise InputError("the fit of the lens diverged; lower probe.learning_rate")
    folder.mkdir(parents=True)
    save_file({name: tensor.float().cpu().contiguous() for name, tensor in tensors.items()}, folder / TRANSLATORS_FILE)
    write_json(folder / DESCRIPTION_FILE, asdict(description))
