"""Batches of proteins as an objective presents them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch.utils.data import Dataset

from plmdepth.language_models.spelling.spelling import Spelling
from plmdepth.objectives.objective import Example, Objective
from plmdepth.proteins.batches import token_budget_batches
from plmdepth.proteins.protein import Protein


@dataclass(frozen=True)
class Batch:
    """Proteins and what the model reads of them."""

    proteins: tuple[Protein, ...]
    example: Example

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on another device."""
        return Batch(self.proteins, self.example.to(device))


class BatchedProteins(Dataset[Batch]):
    """Length-sorted batches within a token budget, made when they are asked for.

    Args:
        proteins: what to batch.
        objective: presents them.
        spelling: spells them.
        tokens_per_batch: most tokens in a padded batch.
        seed: decides the targets.
    """

    def __init__(
        self, proteins: Sequence[Protein], objective: Objective, spelling: Spelling, tokens_per_batch: int, seed: int
    ) -> None:
        self._proteins, self._objective, self._spelling, self._seed = proteins, objective, spelling, seed
        lengths = [spelling.n_tokens(len(protein)) for protein in proteins]
        self._batches = token_budget_batches(lengths, tokens_per_batch, extra=0)

    @property
    def proteins(self) -> Sequence[Protein]:
        """All proteins."""
        return self._proteins

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes of the objective."""
        return self._objective.scopes

    @property
    def sizes(self) -> list[int]:
        """How many proteins each batch holds."""
        return [len(batch) for batch in self._batches]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Batch:
        proteins = tuple(self._proteins[i] for i in self._batches[index])
        example = self._objective.present(proteins, self._spelling, self._seed)
        return Batch(proteins, replace(example, backbones=tuple(each.backbone for each in proteins)))
