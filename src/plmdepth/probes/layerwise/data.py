"""Batches of features and labels: from what was kept, or from the model as they are needed, for the same numbers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.probes.layerwise.features import Pooling, pooled_states, residue_states, spelt
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.tasks.task import Labelled
from plmdepth.randomness import keyed_generator

FeatureBatch = tuple[Tensor, Tensor]
"""Features ``[row, layer, feature]`` and labels: ``[row, class]`` of a multi-label task, else ``[row]``."""
ReadBatch = Callable[[Sequence[int]], FeatureBatch]
"""From the indices of proteins to their batch; a row is a protein, or a residue that has a label."""


@dataclass(frozen=True)
class Kept:
    """Reads batches from features in memory."""

    features: Tensor
    labels: Tensor

    def __call__(self, rows: Sequence[int]) -> FeatureBatch:
        """Return the batch of these proteins."""
        index = torch.tensor(rows)
        return self.features[index].float(), self.labels[index]


@dataclass(frozen=True)
class Pooled:
    """Runs the model on the proteins of a batch and pools each."""

    stack: LayerStack
    proteins: Sequence[Protein]
    labels: Tensor
    pooling: Pooling
    device: torch.device

    def __call__(self, rows: Sequence[int]) -> FeatureBatch:
        """Return the batch of these proteins."""
        features = self.features([self.proteins[row] for row in rows])
        return features.cpu(), self.labels[torch.tensor(rows)]

    def features(self, proteins: Sequence[Protein]) -> Tensor:
        """Return ``[protein, layer, feature]``, on the model's device."""
        tokens = spelt(self.stack, [protein.sequence for protein in proteins], self.device)
        return pooled_states(self.stack, tokens, self.pooling)


@dataclass(frozen=True)
class Residues:
    """Runs the model on the proteins of a batch and keeps every residue that has a label."""

    stack: LayerStack
    labelled: Sequence[Labelled]
    device: torch.device

    def __call__(self, rows: Sequence[int]) -> FeatureBatch:
        """Return the batch of the residues of these proteins that have a label."""
        chosen = [self.labelled[row] for row in rows]
        tokens = spelt(self.stack, [each.protein.sequence for each in chosen], self.device)
        labels = torch.full(tokens.ids.shape, -1)
        labels[tokens.residues.cpu()] = torch.from_numpy(np.concatenate([each.label for each in chosen])).long()
        kept = labels >= 0
        return residue_states(self.stack, tokens, kept.to(self.device)).cpu(), labels[kept]


class Batches(Dataset[FeatureBatch]):
    """The batches of some proteins, asked for by the indices that they hold."""

    def __init__(self, read: ReadBatch) -> None:
        self._read = read

    def __getitem__(self, rows: Any) -> FeatureBatch:
        """Return the batch of these proteins."""
        return self._read(rows)


class Passes(Sampler[list[int]]):
    """The indices of every batch of one pass over the proteins, in another order each pass where it is shuffled.

    Args:
        n_proteins: number of proteins.
        batch_size: proteins a batch; a last protein that would be alone joins the batch before it.
        seed: decides the orders, with the number of the pass; None keeps the order as it is.
    """

    def __init__(self, n_proteins: int, batch_size: int, seed: int | None) -> None:
        self._n, self._size, self._seed = n_proteins, batch_size, seed
        self._pass = 0

    def set_epoch(self, epoch: int) -> None:
        """Go to a pass; the trainer calls it before each."""
        self._pass = epoch

    def __len__(self) -> int:
        return len(self._batches(range(self._n)))

    def __iter__(self) -> Iterator[list[int]]:
        if self._seed is None:
            return iter(self._batches(range(self._n)))
        order = keyed_generator(self._seed, "pass", str(self._pass)).permutation(self._n)
        return iter(self._batches(order.tolist()))

    def _batches(self, order: Sequence[int]) -> list[list[int]]:
        batches = [list(order[start : start + self._size]) for start in range(0, len(order), self._size)]
        if len(batches) > 1 and len(batches[-1]) == 1:  # a batch norm needs two
            alone = batches.pop()
            batches[-1] += alone
        return batches


def loader(read: ReadBatch, passes: Passes) -> DataLoader[FeatureBatch]:
    """Return what feeds a trainer."""
    return DataLoader(Batches(read), batch_size=None, sampler=passes)


def label_tensor(labelled: Sequence[Labelled]) -> Tensor:
    """Return the labels of proteins as one tensor, ``[protein, class]`` or ``[protein]``."""
    return torch.from_numpy(np.stack([each.label for each in labelled]))
