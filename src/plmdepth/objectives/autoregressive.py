"""Next residue: every residue is predicted from those before it (ProGen2, GPT)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch

from plmdepth.language_models.spelling.spelling import Spelling
from plmdepth.objectives.objective import Example, canonical_positions
from plmdepth.proteins.protein import Protein


@dataclass(frozen=True)
class Autoregressive:
    """Nothing is hidden; the row before a canonical residue predicts it. The first is predicted from the terminus.

    A model that spells a protein from its last residue predicts each from those after it.
    """

    name: ClassVar[Literal["autoregressive"]] = "autoregressive"
    scopes: ClassVar[tuple[str, ...]] = ()

    def present(self, proteins: Sequence[Protein], spelling: Spelling, seed: int) -> Example:  # noqa: ARG002
        """Return the batch; ``seed`` decides nothing here."""
        tokens = spelling.spell(proteins)
        targets = [canonical_positions(protein.sequence) for protein in proteins]
        scored = torch.zeros_like(tokens.residues)
        for row, positions in enumerate(targets):
            scored[row, spelling.tokens_of_residues(tokens, row)[positions] - 1] = True
        return Example(
            tokens=tokens,
            labels=torch.roll(tokens.ids, shifts=-1, dims=1),
            scored=scored,
            context=tokens.residues,
            targets=tuple(spelling.in_order(positions) for positions in targets),
            weights=torch.ones(len(targets)),
        )

    def for_training(self) -> Self:
        """Return the objective itself."""
        return self
