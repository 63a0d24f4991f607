"""Scores that order the predictions, and so keep them."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from plmdepth.metrics.accumulators import Estimate
from plmdepth.scores.bootstrap import checked_weights

MEMORY = 8 * 2**30
"""The most bytes that one score keeps, unless told otherwise."""


class StoredProteins(Metric):
    """Keeps columns of values, one row a protein, gathered across batches and processes.

    Args:
        columns: what is kept.
        n_replicates: number of bootstrap replicates; 0 for none.
        memory: the most bytes that may be kept in this process.
    """

    full_state_update = False

    def __init__(self, columns: tuple[str, ...], n_replicates: int = 0, memory: int = MEMORY) -> None:
        super().__init__(sync_on_compute=False)  # of what this process has seen
        self.n_replicates, self.memory = n_replicates, memory
        self.columns = (*columns, "weights") if n_replicates else columns
        for column in self.columns:
            self.add_state(column, [], dist_reduce_fx="cat")

    def _keep(self, weights: Tensor | None, **values: Tensor) -> None:
        """Keep values ``[protein, ...]``."""
        replicates = checked_weights(weights, self.n_replicates, next(iter(values.values())))
        new = {**values, "weights": replicates.T.float()} if self.n_replicates else values
        kept = [tensor for column in self.columns for tensor in getattr(self, column)]
        size = sum(tensor.numel() * tensor.element_size() for tensor in (*kept, *new.values()))
        if size > self.memory:
            raise ValueError(f"{size} bytes of predictions are more than the {self.memory} allowed")
        for column, tensor in new.items():
            getattr(self, column).append(tensor)

    def _kept(self, column: str) -> Tensor:
        return dim_zero_cat(getattr(self, column))

    def _kept_weights(self, like: Tensor) -> Tensor:
        """Return the weights ``[replicate, protein]``, none where no replicates were asked for."""
        return self._kept("weights").T if self.n_replicates else torch.zeros(0, len(like), device=like.device)

    def compute(self) -> Estimate | tuple[object, ...]:
        """Return the score."""
        raise NotImplementedError
