"""``objective=whole``: nothing is hidden. For text, and for measurements that read no prediction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from plmdepth.language_models.spelling.spelling import Spelling
from plmdepth.objectives.objective import Example, hide_targets
from plmdepth.proteins.protein import Protein


@dataclass(frozen=True)
class Whole:
    """Present every sequence as it is; there are no targets, so quantities of predictions are undefined."""

    name: ClassVar[Literal["whole"]] = "whole"
    scopes: ClassVar[tuple[str, ...]] = ()

    def present(self, proteins: Sequence[Protein], spelling: Spelling, seed: int) -> Example:  # noqa: ARG002
        """Return the batch; ``seed`` decides nothing here."""
        return hide_targets(proteins, [()] * len(proteins), spelling, weights=[1.0] * len(proteins))

    def for_training(self) -> Self:
        """Return the objective itself."""
        return self
