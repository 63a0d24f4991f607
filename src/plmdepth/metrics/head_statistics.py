"""How a value of heads varies by input, layer and head, in memory that does not grow with the data."""

from collections.abc import Callable

import torch
from torch import Tensor

from plmdepth.metrics.metric import N_GROUPS, Statistics

RATIO_EDGES = torch.logspace(-4, 4, 49, dtype=torch.float64)
"""Edges of the bins of the ratio; what lies beyond counts in the first and the last."""


class HeadStatistics(Statistics):
    """Sums of the logarithm x of a ratio, ``x[input, head, layer]``, over disjoint groups of inputs.

    **Spread** (Hart et al. 2025, Table 1): within a group, the sample variance along one of the three axes, averaged
    over the two others; mean and standard deviation over the groups. These three overlap: the variance by layer also
    holds what a head adds, and all hold what is left.

    **Components** that add up: ``x = m + input + layer + head within layer + rest``, all random with means of zero, the
    four variances by the method of moments over all inputs; one that comes out negative is set to 0.

    A sequence without a value for each head does not count.

    Args:
        n_heads: heads a layer.
        n_layers: L.
        read: from the curves of a batch ``[sequence, quantity, layer]`` to x.
    """

    full_state_update = False
    count: Tensor
    cells: Tensor
    squares: Tensor
    inputs: Tensor
    along: Tensor
    histogram: Tensor

    def __init__(self, n_heads: int, n_layers: int, read: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._read = read
        sizes = {
            "count": (N_GROUPS,),
            "cells": (N_GROUPS, n_heads, n_layers),  # sums over inputs
            "squares": (N_GROUPS, n_heads, n_layers),
            "inputs": (N_GROUPS, 2),  # sums of the mean of an input, and of its square
            "along": (N_GROUPS, 2),  # sums of the variance over layers and of that over heads
            "histogram": (n_layers, len(RATIO_EDGES) - 1),
        }
        for name, size in sizes.items():
            self.add_state(name, torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, curves: Tensor, groups: Tensor) -> None:
        """Add sequences: their curves and the group of each, ``[sequence]``."""
        x = self._read(curves).double()
        whole = ~x.isnan().flatten(1).any(-1)
        x, groups = x[whole], groups.to(x.device)[whole]
        mean = x.mean((1, 2))
        along = torch.stack([_variance(x, 2).mean(1), _variance(x, 1).mean(1)], dim=-1)
        self.count.index_add_(0, groups, torch.ones_like(mean))
        self.cells.index_add_(0, groups, x)
        self.squares.index_add_(0, groups, x.square())
        self.inputs.index_add_(0, groups, torch.stack([mean, mean.square()], dim=-1))
        self.along.index_add_(0, groups, along)
        n_bins = self.histogram.shape[1]
        bins = torch.bucketize(x, RATIO_EDGES.log().to(x.device), right=True).sub(1).clamp(0, n_bins - 1)
        layers = torch.arange(x.shape[2], device=x.device) * n_bins
        counts = torch.bincount((bins + layers).flatten(), minlength=self.histogram.numel())
        self.histogram += counts.view_as(self.histogram)

    def compute(self) -> dict[str, float]:
        """Return ``log_ratio_variance_by_*`` with ``_sd`` over the groups, and ``log_ratio_component_*``."""
        return {**self._spread(), **self._components()}

    def tables(self) -> dict[str, Tensor]:
        """Return how often a ratio lay in each bin of `RATIO_EDGES`, ``[layer, bin]``."""
        return {"ratio_counts/": self.histogram}

    def _spread(self) -> dict[str, float]:
        n = self.count[:, None, None]
        by_input = ((self.squares - self.cells.square() / n) / (n - 1)).mean((1, 2))
        by_layer, by_head = (self.along / self.count[:, None]).unbind(-1)
        found = {}
        for axis, groups in (("input", by_input), ("layer", by_layer), ("head", by_head)):
            known = groups[groups.isfinite()]
            found[f"log_ratio_variance_by_{axis}"] = float(known.mean())
            found[f"log_ratio_variance_by_{axis}_sd"] = float(known.std()) if len(known) > 1 else float("nan")
        return found

    def _components(self) -> dict[str, float]:
        """Return the components of a balanced design: inputs crossed with heads, heads nested in layers."""
        n, (n_heads, n_layers) = self.count.sum(), self.cells.shape[1:]
        cells = self.cells.sum(0) / n
        layers, mean = cells.mean(0), cells.mean()
        total = self.squares.sum() - n * n_heads * n_layers * mean.square()
        between = {
            "input": n_heads * n_layers * (self.inputs[:, 1].sum() - n * mean.square()),
            "layer": n * n_heads * (layers - mean).square().sum(),
            "head": n * (cells - layers).square().sum(),
        }
        rest = (total - sum(between.values())) / ((n - 1) * (n_heads * n_layers - 1))
        square = {
            "input": between["input"] / (n - 1),
            "layer": between["layer"] / (n_layers - 1),
            "head": between["head"] / (n_layers * (n_heads - 1)),
        }
        found = {
            "input": (square["input"] - rest) / (n_heads * n_layers),
            "layer": (square["layer"] - square["head"]) / (n * n_heads),
            "head": (square["head"] - rest) / n,
            "rest": rest,
        }
        return {f"log_ratio_component_{name}": float(value.clamp(min=0)) for name, value in found.items()}


def _variance(values: Tensor, axis: int) -> Tensor:
    """Return the sample variance along an axis; NaN along one of length 1."""
    deviations = values - values.mean(axis, keepdim=True)
    return deviations.square().sum(axis) / (values.shape[axis] - 1)
