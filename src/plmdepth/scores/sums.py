"""Scores that are functions of sums over proteins: constant memory, whatever the number of proteins."""

import torch
from torch import Tensor
from torchmetrics import Metric

from plmdepth.scores.bootstrap import checked_weights, with_ones


class ProteinSums(Metric):
    """Sums of a table a protein, over all proteins and under every bootstrap weighting.

    The state holds ``8 (1 + n_replicates) * size`` bytes and adds up across batches and processes.

    Args:
        shape: shape of one protein's table; it leads with the layer.
        n_replicates: number of bootstrap replicates; 0 for none.
    """

    full_state_update = False
    sums: Tensor
    n: Tensor

    def __init__(self, shape: tuple[int, ...], n_replicates: int = 0) -> None:
        super().__init__(sync_on_compute=False)  # of what this process has seen
        self.shape, self.n_replicates = shape, n_replicates
        empty = torch.zeros((1 + n_replicates, *shape), dtype=torch.float64)
        self.add_state("sums", empty, dist_reduce_fx="sum")
        self.add_state("n", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def _add(self, tables: Tensor, weights: Tensor | None) -> None:
        """Add tables ``[protein, layer, ...]``; one of zeros belongs to a protein that does not count."""
        if tables.shape[1:] != self.shape:
            raise ValueError(f"expected (layer, class) as in {self.shape}, got {tuple(tables.shape[1:])}")
        rows = with_ones(checked_weights(weights, self.n_replicates, tables))
        self.sums += torch.tensordot(rows, tables, dims=1)
        self.n += tables.flatten(1).bool().any(1).sum()
