"""Values over a data set with confidence intervals, in memory that does not grow with the data.

Sequence s enters bootstrap replicate r with weight ``w_sr ~ Poisson(1)``, drawn from (seed, sequence) alone: proteins
with the same sequence are drawn together, so that copies of a protein make no interval narrower. This is
the bootstrap for streams (Oza and Russell 2001; Chamandy et al. 2012): running sums (or maxima) suffice, so they
combine across batches and processes, and no order or batching changes them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric as AccumulatingMetric

from plmdepth.metrics.metric import Reduction
from plmdepth.proteins.protein import Protein
from plmdepth.randomness import keyed_generator

CONFIDENCE = 0.95
N_REPLICATES = 1000


class Estimate(NamedTuple):
    """What sequences say together. All tensors end in the shape of one sequence's values.

    Attributes:
        value: mean (or maximum) over the sequences that have a value; NaN where none has.
        low: lower end of the 95 % percentile bootstrap interval; NaN below two sequences.
        high: upper end of it.
        n: number of sequences with a value.
        replicates: the bootstrap values, ``[replicate, ...]``.
    """

    value: Tensor
    low: Tensor
    high: Tensor
    n: Tensor
    replicates: Tensor


class Accumulator(AccumulatingMetric):
    """What both accumulators share.

    Args:
        shape: shape of one sequence's values.
        n_replicates: number of bootstrap replicates.
    """

    full_state_update = False
    n: Tensor

    def __init__(self, shape: tuple[int, ...], n_replicates: int = N_REPLICATES) -> None:
        super().__init__()
        self.n_replicates = n_replicates
        self.add_state("n", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: Tensor, weights: Tensor) -> None:
        """Add sequences.

        Args:
            values: ``[sequence, ...]``; NaN does not count.
            weights: their bootstrap weights, ``[replicate, sequence]``.
        """
        raise NotImplementedError

    def _estimate(self, value: Tensor, replicates: Tensor) -> Estimate:
        tail = (1 - CONFIDENCE) / 2
        quantiles = torch.tensor([tail, 1 - tail], dtype=torch.float64, device=self.device)
        low, high = torch.where(self.n > 1, replicates.nanquantile(quantiles, dim=0), torch.nan)
        return Estimate(value, low, high, self.n, replicates)


class MeanAccumulator(Accumulator):
    """Mean over sequences: ``mean_r = sum_s w_sr x_s / sum_s w_sr``."""

    total: Tensor
    replicate_total: Tensor
    replicate_weight: Tensor

    def __init__(self, shape: tuple[int, ...], n_replicates: int = N_REPLICATES) -> None:
        super().__init__(shape, n_replicates)
        replicated = (n_replicates, *shape)
        for name, size in (("total", shape), ("replicate_total", replicated), ("replicate_weight", replicated)):
            self.add_state(name, torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: Tensor, weights: Tensor) -> None:
        """Add sequences, as `Accumulator.update`."""
        defined = ~values.isnan()
        known, defined = values.nan_to_num(nan=0.0).double(), defined.double()
        self.total += known.sum(0)
        self.n += defined.sum(0)
        self.replicate_total += torch.tensordot(weights, known, dims=1)
        self.replicate_weight += torch.tensordot(weights, defined, dims=1)

    def compute(self) -> Estimate:
        """Return the means and their intervals."""
        return self._estimate(self.total / self.n, self.replicate_total / self.replicate_weight)


class MaxAccumulator(Accumulator):
    """Maximum over sequences: ``max_r = max over s with w_sr > 0``.

    A bootstrap of a maximum never exceeds the maximum, so its interval shows how far the value hangs on few sequences.
    """

    highest: Tensor
    replicate_highest: Tensor

    def __init__(self, shape: tuple[int, ...], n_replicates: int = N_REPLICATES) -> None:
        super().__init__(shape, n_replicates)
        for name, size in (("highest", shape), ("replicate_highest", (n_replicates, *shape))):
            lowest = torch.full(size, -torch.inf, dtype=torch.float64)
            self.add_state(name, lowest, dist_reduce_fx="max")

    def update(self, values: Tensor, weights: Tensor) -> None:
        """Add sequences, as `Accumulator.update`."""
        known = values.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf).double()
        self.n += (~values.isnan()).double().sum(0)
        self.highest = torch.cat([self.highest[None], known]).amax(0)
        for sequence, drawn in zip(known, weights.T > 0, strict=True):
            self.replicate_highest[drawn] = torch.maximum(self.replicate_highest[drawn], sequence)

    def compute(self) -> Estimate:
        """Return the maxima and their intervals."""
        return self._estimate(
            *(x.masked_fill(x == -torch.inf, torch.nan) for x in (self.highest, self.replicate_highest))
        )


def accumulator(reduction: Reduction, shape: tuple[int, ...]) -> Accumulator:
    """Return the accumulator of a reduction."""
    return {"mean": MeanAccumulator, "max": MaxAccumulator}[reduction](shape)


def disjoint_groups(proteins: Sequence[Protein], seed: int, n_groups: int) -> dict[str, int]:
    """Return the group of every protein by its id: groups are of one size, give or take one, and no order decides."""
    keys = [keyed_generator(seed, "group", f"{each.id}\t{each.sequence}").random() for each in proteins]
    return {proteins[index].id: rank % n_groups for rank, index in enumerate(np.argsort(keys))}


def bootstrap_weights(proteins: Sequence[Protein], seed: int, n_replicates: int = N_REPLICATES) -> Tensor:
    """Return Poisson(1) weights ``[replicate, sequence]``, each column from (seed, id, sequence) alone.

    Proteins of one sequence are drawn by one id (`Protein.copy_of`) and have one column: they are one cluster.
    """
    keys = [f"{each.copy_of or each.id}\t{each.sequence}" for each in proteins]
    columns = [keyed_generator(seed, "bootstrap", key).poisson(1.0, n_replicates) for key in keys]
    return torch.from_numpy(np.stack(columns, axis=1)).double()
