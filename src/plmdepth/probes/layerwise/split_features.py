"""For every split of a task, what makes its batches."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.probes.layerwise.cache import FeatureCache, one_row
from plmdepth.probes.layerwise.data import (
    Kept,
    LiveResidues,
    Pooled,
    ReadBatch,
    ReadStates,
    ScoredResidues,
    StoredResidues,
    WholeProteins,
    label_tensor,
)
from plmdepth.probes.layerwise.features import Pooling
from plmdepth.probes.layerwise.plan import FeaturePlan
from plmdepth.probes.layerwise.recipe import HeadRecipe
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.tasks.task import Task


class FeatureSource(Protocol):
    """What readers must know of a cell."""

    @property
    def model(self) -> LanguageModel:
        """The model."""

    @property
    def weights(self) -> str:
        """What identifies its weights."""

    @property
    def task(self) -> Task:
        """The labelled proteins."""

    @property
    def recipe(self) -> HeadRecipe:
        """What is kept, and how."""

    @property
    def pooling(self) -> Pooling | None:
        """How a protein becomes one vector; None where every residue is read by itself."""

    @property
    def plan(self) -> FeaturePlan:
        """What features there are, and whether they are kept."""

    @property
    def features(self) -> Path:
        """The folder of kept features."""

    @property
    def tokens_per_batch(self) -> int:
        """Most tokens that the model reads at once."""


class SplitFeatures:
    """Makes the reader of each split once.

    Args:
        cell: what is read.
        stack: the model.
        device: where it is.
    """

    def __init__(self, cell: FeatureSource, stack: LayerStack, device: torch.device) -> None:
        self._cell, self._stack, self._device = cell, stack, device
        self._layers = cell.recipe.chosen(stack.n_layers)
        self._dtype: torch.dtype = getattr(torch, cell.recipe.cache_dtype)
        self.of = cache(self._of)

    def prepare(self) -> None:
        """Have the features of all splits that are kept; where several processes share the run, all must come here."""
        for split in self._cell.task.splits:
            self.of(split)

    def _of(self, split: str) -> ReadBatch:
        labelled, pooling = self._cell.task.splits[split], self._cell.pooling
        if pooling is None:
            return ScoredResidues(self._residues(split), [each.label for each in labelled])
        if pooling == "attention":
            lengths = [len(each.protein) for each in labelled]
            return WholeProteins(self._residues(split), lengths, label_tensor(labelled))
        return self._vectors(split, pooling, label_tensor(labelled))

    def _vectors(self, split: str, pooling: Pooling, labels: Tensor) -> ReadBatch:
        """Return what reads one vector a protein: from memory, or from the model."""
        live = Pooled(self._stack, self._proteins(split), labels, pooling, self._device, self._layers, self._dtype)
        return Kept(self._cache(split, pooling, one_row).features(live.features), labels) if self._kept else live

    def _residues(self, split: str) -> ReadStates:
        """Return what reads all residues of proteins: from disk, or from the model."""
        proteins = self._proteins(split)
        live = LiveResidues(self._stack, proteins, self._device, self._layers, self._dtype)
        if not self._kept:
            return live
        shards = self._cache(split, "residues", len).shards(live.features)
        return StoredResidues(shards, [len(protein) for protein in proteins])

    @property
    def _kept(self) -> bool:
        return self._cell.plan.kept

    def _proteins(self, split: str) -> list[Protein]:
        return [each.protein for each in self._cell.task.splits[split]]

    def _cache(self, split: str, pooling: str, n_rows: Callable[[Protein], int]) -> FeatureCache:
        cell = self._cell
        facts: dict[str, Any] = {"model": cell.model.facts(), "weights": cell.weights, "pooling": pooling}
        return FeatureCache(
            folder=cell.features / cell.model.name,
            facts=facts | {"layers": self._layers},
            proteins=self._proteins(split),
            shape=(len(self._layers), self._stack.width),
            dtype=self._dtype,
            tokens_per_batch=cell.tokens_per_batch,
            n_rows=n_rows,
        )
