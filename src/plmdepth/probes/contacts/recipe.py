"""``probe=contact``: how contacts are read off attention."""

from dataclasses import dataclass
from typing import ClassVar

from plmdepth.cells.cell import Cell
from plmdepth.cells.context import RunContext
from plmdepth.errors import InputError

LEAST_SEPARATION = 6
"""Pairs closer along the chain are neither learnt nor scored: neighbours touch whatever the fold."""


@dataclass(frozen=True, kw_only=True)
class ContactRecipe:
    """A logistic regression a layer, with an L1 penalty (Rao et al. 2020).

    Attributes:
        inverse_regularisation: C of the regression, which minimises ``|w|_1 + C * sum of the log losses of all pairs``.
        cumulative: layer l reads the heads of layers 1..l; otherwise its own.
        max_pairs: most training pairs; more are thinned out at random, evenly over proteins, by the seed. None for all.
        gigabytes: most memory for what the regressions read; where it does not suffice the training proteins are run
            several times, for some layers each. Changes speed and memory, never a number.
        n_replicates: bootstrap replicates of the scores.
    """

    name: ClassVar[str] = "contact"
    inverse_regularisation: float = 0.15
    cumulative: bool = False
    max_pairs: int | None = 1_000_000
    gigabytes: float = 4.0
    n_replicates: int = 1000

    def __post_init__(self) -> None:
        for option in ("inverse_regularisation", "gigabytes"):
            if not getattr(self, option) > 0:
                raise InputError(f"probe.{option} must be above 0, got {getattr(self, option)}")
        if self.max_pairs is not None and self.max_pairs < 1:
            raise InputError(f"probe.max_pairs={self.max_pairs}: give 1 pair or more; null for all")
        if self.n_replicates < 2:
            raise InputError(f"probe.n_replicates={self.n_replicates}: an interval needs 2 or more")

    def cell(self, run: RunContext) -> Cell:
        """Return the cell that fits the regressions.

        Raises:
            InputError: something in the configuration is wrong.
        """
        from plmdepth.probes.contacts.run import ContactCell  # noqa: PLC0415 (a cell knows its recipe)

        return ContactCell.of(run)

    def read_by(self, layer: int) -> range:
        """Return the layers whose heads the regression of a layer reads, from 1."""
        return range(1 if self.cumulative else layer, layer + 1)
