"""Masked residues: a fixed fraction of each protein is hidden and predicted from the rest (ESM-2, BERT)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np

from plmdepth.errors import InputError
from plmdepth.language_models.spelling.spelling import Spelling
from plmdepth.objectives.objective import Example, canonical_positions, hide_targets
from plmdepth.proteins.protein import Protein
from plmdepth.randomness import keyed_generator


@dataclass(frozen=True)
class Masked:
    """Hide ``mask_fraction`` of the canonical residues of each protein, at least one.

    Every target becomes the mask token (no random or kept tokens: those serve training, not measuring). The targets of
    a smaller fraction are a subset of those of a larger one.

    Attributes:
        mask_fraction: fraction of residues hidden, in (0, 1].
    """

    name: ClassVar[Literal["masked"]] = "masked"
    scopes: ClassVar[tuple[str, ...]] = ()
    mask_fraction: float = 0.15

    def __post_init__(self) -> None:
        if not 0 < self.mask_fraction <= 1:
            raise InputError(f"objective.mask_fraction must be above 0 and at most 1, got {self.mask_fraction}")

    def present(self, proteins: Sequence[Protein], spelling: Spelling, seed: int) -> Example:
        """Return the masked batch."""
        targets = [self.targets(protein.sequence, seed) for protein in proteins]
        return hide_targets(proteins, targets, spelling, weights=[1.0] * len(targets))

    def for_training(self) -> Self:
        """Return the objective itself."""
        return self

    def targets(self, sequence: str, seed: int) -> list[int]:
        """Return the 0-based target positions of a sequence, ascending."""
        canonical = canonical_positions(sequence)
        if not canonical:
            return []
        order = np.argsort(keyed_generator(seed, "targets", sequence).random(len(canonical)))
        count = max(1, round(self.mask_fraction * len(canonical)))
        return sorted(canonical[index] for index in order[:count])
