"""Fitting a regression a layer in bounded memory: training pairs, passes over the proteins, and the fits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.probes.contacts.features import read_pairs
from plmdepth.probes.contacts.recipe import LEAST_SEPARATION, ContactRecipe
from plmdepth.probes.contacts.regression import LayerRegressions, Regression, fitted, fitted_to_separation
from plmdepth.proteins.tasks.contacts import ContactProtein, Pairs
from plmdepth.randomness import keyed_generator

_BYTES = 4  # of a feature


@dataclass(frozen=True)
class TrainingPlan:
    """What will be held in memory, and how often the training proteins are run.

    Attributes:
        n_pairs: pairs that regressions are fitted to.
        n_available: pairs that there are.
        gigabytes: what all layers say of them.
        passes: the layers of each run.
    """

    n_pairs: int
    n_available: int
    gigabytes: float
    passes: tuple[range, ...]

    def __str__(self) -> str:
        share = "" if self.n_pairs == self.n_available else f" of {self.n_available}"
        times = "one pass" if len(self.passes) == 1 else f"{len(self.passes)} passes"
        return f"{self.n_pairs}{share} training pairs, {self.gigabytes:.2g} GB of attention in all layers: {times}"


def planned(recipe: ContactRecipe, n_available: int, n_layers: int, n_heads: int) -> TrainingPlan:
    """Return how a budget of memory is kept.

    Args:
        recipe: how contacts are read.
        n_available: training pairs.
        n_layers: L.
        n_heads: heads a layer.

    Raises:
        InputError: what must be held at once is more than the budget.
    """
    n_pairs = n_available if recipe.max_pairs is None else min(n_available, recipe.max_pairs)
    layer = n_pairs * n_heads * _BYTES / 1e9
    at_once = min(n_layers, int(recipe.gigabytes / layer))
    needed = n_layers if recipe.cumulative else 1
    if at_once < needed:
        held = "all layers" if recipe.cumulative else "one layer"
        raise InputError(
            f"{n_pairs} training pairs take {needed * layer:.3g} GB for {held}, and probe.gigabytes is "
            f"{recipe.gigabytes:g}; raise it or lower probe.max_pairs"
        )
    starts = range(1, n_layers + 1, at_once)
    passes = tuple(range(start, min(start + at_once, n_layers + 1)) for start in starts)
    return TrainingPlan(n_pairs, n_available, n_layers * layer, passes)


def training_pairs(proteins: Sequence[ContactProtein], max_pairs: int | None, seed: int) -> list[Pairs]:
    """Return the pairs of every protein that regressions are fitted to.

    Where there are more than ``max_pairs`` in all, every protein keeps the same share of its own, drawn by (seed, id,
    sequence).
    """
    everything = [each.pairs(LEAST_SEPARATION) for each in proteins]
    available = np.array([len(pairs.first) for pairs in everything])
    if max_pairs is None or available.sum() <= max_pairs:
        return everything
    ends = available.cumsum() * max_pairs // available.sum()  # rounded so that they add up
    return [
        pairs.at(_drawn(each, len(pairs.first), int(quota), seed))
        for each, pairs, quota in zip(proteins, everything, np.diff(ends, prepend=0), strict=True)
    ]


def fit_layers(
    stack: LayerStack,
    proteins: Sequence[ContactProtein],
    recipe: ContactRecipe,
    plan: TrainingPlan,
    seed: int,
    device: torch.device,
) -> LayerRegressions:
    """Fit the regression of every layer, and the baseline."""
    pairs = training_pairs(proteins, recipe.max_pairs, seed)
    contact = np.concatenate([each.contact for each in pairs])
    found: dict[int, Regression] = {}
    for layers in plan.passes:
        features = gathered(stack, proteins, pairs, layers, device)
        for layer in layers:
            read = np.concatenate([features[each] for each in recipe.read_by(layer)], axis=1)
            found[layer] = fitted(read, contact, recipe.inverse_regularisation, seed)
    separation = np.concatenate([each.separation for each in pairs])
    alone = fitted_to_separation(separation, contact, recipe.inverse_regularisation, seed)
    return LayerRegressions(
        weight=_weights(found, recipe),
        bias=torch.tensor([found[layer].bias for layer in sorted(found)], dtype=torch.float64),
        separation=alone,
        unconverged=tuple(layer for layer, fit in sorted({0: alone.regression, **found}.items()) if not fit.converged),
    )


def gathered(
    stack: LayerStack, proteins: Sequence[ContactProtein], pairs: Sequence[Pairs], layers: range, device: torch.device
) -> dict[int, NDArray[np.float32]]:
    """Return what some layers say of training pairs, ``[pair, head]`` of each, in one run of every protein."""
    n_pairs = sum(len(each.first) for each in pairs)
    features: dict[int, NDArray[np.float32]] = {}
    start = 0
    for each, chosen in zip(proteins, pairs, strict=True):
        rows = slice(start, start + len(chosen.first))

        def keep(layer: int, read: Tensor, rows: slice = rows) -> None:
            kept = features.setdefault(layer, np.empty((n_pairs, read.shape[1]), dtype=np.float32))
            kept[rows] = read.float().cpu().numpy()

        read_pairs(stack, each, chosen, layers, keep, device)
        start = rows.stop
    return features


def _weights(found: dict[int, Regression], recipe: ContactRecipe) -> Tensor:
    """Return the weights of all regressions, ``[layer, layer read, head]``."""
    n_layers = len(found)
    n_heads = len(found[1].weight)
    weight = torch.zeros(n_layers, n_layers, n_heads, dtype=torch.float64)
    for layer, regression in found.items():
        read = recipe.read_by(layer)
        weight[layer - 1, read.start - 1 : read.stop - 1] = torch.from_numpy(regression.weight).view(len(read), n_heads)
    return weight


def _drawn(each: ContactProtein, n_pairs: int, quota: int, seed: int) -> NDArray[np.int64]:
    generator = keyed_generator(seed, "contact pairs", f"{each.protein.id}\t{each.protein.sequence}")
    return np.sort(generator.choice(n_pairs, size=quota, replace=False))
