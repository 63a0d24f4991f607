"""Batches of features and labels: from what was kept, or from the model as they are needed, for the same numbers."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.probes.layerwise.cache import Shard
from plmdepth.probes.layerwise.features import Pooling, pooled_states, residue_states, spelt
from plmdepth.probes.layerwise.pooling import ProteinStates
from plmdepth.proteins.memory import reading
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.tasks.task import NOT_SCORED, Labelled
from plmdepth.randomness import keyed_generator

_OPEN_FILES = 64

Features = Tensor | ProteinStates
"""What heads read: ``[row, layer, feature]``, or the residues of proteins that they pool themselves."""
FeatureBatch = tuple[Features, Tensor]
"""Features and labels: ``[row, class]`` of a multi-label task, else ``[row]``."""
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
    """Runs the model on the proteins of a batch and pools each; features are rounded as those that are kept."""

    stack: LayerStack
    proteins: Sequence[Protein]
    labels: Tensor
    pooling: Pooling
    device: torch.device
    layers: Sequence[int] | None = None
    dtype: torch.dtype = torch.float32

    def __call__(self, rows: Sequence[int]) -> FeatureBatch:
        """Return the batch of these proteins."""
        features = self.features([self.proteins[row] for row in rows])
        return features.to("cpu", self.dtype).float(), self.labels[torch.tensor(rows)]

    def features(self, proteins: Sequence[Protein]) -> Tensor:
        """Return ``[protein, layer, feature]``, on the model's device."""
        tokens = spelt(self.stack, [protein.sequence for protein in proteins], self.device)
        with reading(proteins):
            return pooled_states(self.stack, tokens, self.pooling, self.layers)


ReadStates = Callable[[Sequence[int]], Tensor]
"""From the places of proteins to the states of all their residues, ``[residue, layer, feature]``."""


@dataclass(frozen=True)
class LiveResidues:
    """Runs the model on proteins and keeps every residue; features are rounded as those that are kept."""

    stack: LayerStack
    proteins: Sequence[Protein]
    device: torch.device
    layers: Sequence[int] | None = None
    dtype: torch.dtype = torch.float32

    def __call__(self, rows: Sequence[int]) -> Tensor:
        """Return the states of these proteins."""
        return self.features([self.proteins[row] for row in rows]).to("cpu", self.dtype).float()

    def features(self, proteins: Sequence[Protein]) -> Tensor:
        """Return ``[residue, layer, feature]``, on the model's device."""
        tokens = spelt(self.stack, [protein.sequence for protein in proteins], self.device)
        with reading(proteins):
            return residue_states(self.stack, tokens, self.layers)


class StoredResidues:
    """Reads states from files, those of the wanted proteins alone: however large the files, memory does not grow.

    Args:
        shards: the files of all proteins.
        lengths: residues of every protein.
    """

    def __init__(self, shards: Iterable[Shard], lengths: Sequence[int]) -> None:
        self._places: dict[int, tuple[Path, int, int]] = {}
        for path, members in shards:
            ends = list(accumulate(lengths[index] for index in members))
            for index, end in zip(members, ends, strict=True):
                self._places[index] = (path, end - lengths[index], end)
        self._features = lru_cache(_OPEN_FILES)(_features_of)

    def __call__(self, rows: Sequence[int]) -> Tensor:
        """Return the states of these proteins."""
        found = (self._places[row] for row in rows)
        return torch.cat([self._features(path)[start:end] for path, start, end in found]).float()


@dataclass(frozen=True)
class ScoredResidues:
    """Reads the residues that have a label: each is a row."""

    read: ReadStates
    labels: Sequence[np.ndarray]

    def __call__(self, rows: Sequence[int]) -> FeatureBatch:
        """Return the batch of the residues of these proteins that have a label."""
        labels = torch.from_numpy(np.concatenate([self.labels[row] for row in rows])).long()
        return self.read(rows)[labels != NOT_SCORED], labels[labels != NOT_SCORED]


@dataclass(frozen=True)
class WholeProteins:
    """Reads all residues of proteins that have one label: what is pooled by heads that learn how."""

    read: ReadStates
    lengths: Sequence[int]
    labels: Tensor

    def __call__(self, rows: Sequence[int]) -> FeatureBatch:
        """Return the batch of these proteins."""
        lengths = torch.tensor([self.lengths[row] for row in rows])
        segment = torch.arange(len(rows)).repeat_interleave(lengths)
        return ProteinStates(self.read(rows), segment, len(rows)), self.labels[torch.tensor(rows)]


def _features_of(path: Path) -> Any:
    return safe_open(path, "pt").get_slice("features")


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
