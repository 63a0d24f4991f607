"""The recipe of a pretraining run."""

import math
from dataclasses import dataclass

from plmdepth.cells.cell import Cell
from plmdepth.cells.context import RunContext
from plmdepth.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained: AdamW, linear warm-up, cosine decay.

    Attributes:
        name: the training option's name.
        steps: optimiser steps.
        batch_size: proteins a step.
        learning_rate: the highest learning rate.
        warmup_steps: steps until it is reached.
        final_fraction: share of it that is left at the end.
        weight_decay: AdamW's weight decay.
        gradient_clip: largest norm of a gradient.
        valid_size: proteins on which the model is scored.
        valid_every: steps between two scores.
    """

    name: str = "pretraining"
    steps: int = 8000
    batch_size: int = 16
    learning_rate: float = 3e-3
    warmup_steps: int = 200
    final_fraction: float = 0.02
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    valid_size: int = 512
    valid_every: int = 500

    def __post_init__(self) -> None:
        for option in ("steps", "batch_size", "valid_size", "valid_every"):
            if getattr(self, option) < 1:
                raise InputError(f"training.{option} must be at least 1, got {getattr(self, option)}")

    def cell(self, run: RunContext) -> Cell:
        """Return the cell that trains the model.

        Raises:
            InputError: something in the configuration is wrong.
        """
        from plmdepth.pretraining.run import Pretraining  # noqa: PLC0415 (a cell knows its recipe)

        return Pretraining.of(run)

    def rate(self, step: int) -> float:
        """Return the learning rate at a step as a share of the highest."""
        warmup = min(1.0, (step + 1) / max(1, self.warmup_steps))
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))
        return warmup * max(self.final_fraction, cosine)
