"""Mean curves over a data set with confidence intervals, in memory that does not grow with the data."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric as AccumulatingMetric

from plmdepth.proteins.protein import Protein
from plmdepth.randomness import keyed_generator

CONFIDENCE = 0.95


class CurveEstimate(NamedTuple):
    """Mean curves over sequences. All tensors end in ``[quantity, layer]``.

    Attributes:
        mean: mean over the sequences that have a value; NaN where none has.
        low: lower end of the 95 % percentile bootstrap interval; NaN below two sequences.
        high: upper end of it.
        n: number of sequences with a value.
        replicates: the bootstrap means, ``[replicate, quantity, layer]``.
    """

    mean: Tensor
    low: Tensor
    high: Tensor
    n: Tensor
    replicates: Tensor


class CurveAccumulator(AccumulatingMetric):
    """Average values over sequences and bootstrap the mean as they stream by.

    Sequence s enters bootstrap replicate r with weight ``w_sr ~ Poisson(1)``, drawn from (seed, sequence) alone:
    ``mean_r = sum_s w_sr x_s / sum_s w_sr``. This is the bootstrap for streams (Oza and Russell 2001; Chamandy et al.
    2012): sums suffice, so they add up across batches and processes, and no order or batching changes them.

    Args:
        n_quantities: number of quantities.
        n_layers: number of layers with the embedding, L + 1.
        seed: the run's seed.
        n_replicates: number of bootstrap replicates.
    """

    full_state_update = False

    def __init__(self, n_quantities: int, n_layers: int, seed: int, n_replicates: int = 1000) -> None:
        super().__init__()
        self.seed, self.n_replicates = seed, n_replicates
        points = (n_quantities, n_layers)
        for name, shape in (("total", points), ("count", points)):
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
            replicated = torch.zeros((n_replicates, *shape), dtype=torch.float64)
            self.add_state(f"replicate_{name}", replicated, dist_reduce_fx="sum")

    total: Tensor
    count: Tensor
    replicate_total: Tensor
    replicate_count: Tensor

    def update(self, values: Tensor, weights: Tensor) -> None:
        """Add sequences.

        Args:
            values: ``[sequence, quantity, layer]``; NaN does not count.
            weights: their bootstrap weights, ``[replicate, sequence]``.
        """
        defined = ~values.isnan()
        known, defined = values.nan_to_num(nan=0.0).double(), defined.double()
        self.total += known.sum(0)
        self.count += defined.sum(0)
        self.replicate_total += torch.einsum("rs,sql->rql", weights, known)
        self.replicate_count += torch.einsum("rs,sql->rql", weights, defined)

    def compute(self) -> CurveEstimate:
        """Return the means and their intervals."""
        replicates = self.replicate_total / self.replicate_count
        tail = (1 - CONFIDENCE) / 2
        ends = replicates.nanquantile(torch.tensor([tail, 1 - tail], dtype=torch.float64, device=self.device), dim=0)
        low, high = torch.where(self.count > 1, ends, torch.nan)
        return CurveEstimate(self.total / self.count, low, high, self.count, replicates)


def bootstrap_weights(proteins: Sequence[Protein], seed: int, n_replicates: int) -> Tensor:
    """Return Poisson(1) weights ``[replicate, sequence]``, each column from (seed, id, sequence) alone."""
    columns = [
        keyed_generator(seed, "bootstrap", f"{protein.id}\t{protein.sequence}").poisson(1.0, n_replicates)
        for protein in proteins
    ]
    return torch.from_numpy(np.stack(columns, axis=1)).double()
