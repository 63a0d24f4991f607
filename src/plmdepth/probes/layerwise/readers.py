"""For every split of a task, what makes its batches."""

from functools import cache
from pathlib import Path
from typing import Any, Protocol

import torch

from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.probes.layerwise.cache import FeatureCache
from plmdepth.probes.layerwise.data import Kept, Pooled, ReadBatch, Residues, label_tensor
from plmdepth.probes.layerwise.recipe import HeadRecipe
from plmdepth.proteins.tasks.task import Task


class Reading(Protocol):
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
    def features(self) -> Path:
        """The folder of kept features."""

    @property
    def tokens_per_batch(self) -> int:
        """Most tokens that the model reads at once."""


class Readers:
    """Makes the reader of each split once.

    Args:
        cell: what is read.
        stack: the model.
        device: where it is.
    """

    def __init__(self, cell: Reading, stack: LayerStack, device: torch.device) -> None:
        self._cell, self._stack, self._device = cell, stack, device
        self.of = cache(self._of)

    def caches(self) -> dict[str, FeatureCache]:
        """Return the cache of every split, whether it is there or not."""
        return {split: self._cache(split) for split in self._cell.task.splits}

    def _of(self, split: str) -> ReadBatch:
        cell, labelled = self._cell, self._cell.task.splits[split]
        if cell.recipe.reads_residues:
            return Residues(self._stack, labelled, self._device)
        labels, proteins = label_tensor(labelled), [each.protein for each in labelled]
        live = Pooled(self._stack, proteins, labels, cell.recipe.pooling, self._device)
        return Kept(self._cache(split).features(live.features), labels) if cell.recipe.cache else live

    def _cache(self, split: str) -> FeatureCache:
        cell = self._cell
        facts: dict[str, Any] = {"model": cell.model.facts(), "weights": cell.weights, "pooling": cell.recipe.pooling}
        return FeatureCache(
            folder=cell.features / cell.model.name,
            facts=facts,
            proteins=[each.protein for each in cell.task.splits[split]],
            shape=(self._stack.n_layers + 1, self._stack.width),
            dtype=getattr(torch, cell.recipe.cache_dtype),
            tokens_per_batch=cell.tokens_per_batch,
        )
