"""Area under the precision-recall curve, as average precision over all pairs of protein and term.

``AP = sum_n (R_n - R_{n-1}) P_n`` over the distinct probabilities, from high to low; equal probabilities are one step,
so no order among them matters. All pairs are pooled (Hart et al. 2025 report it as AUPRC for EC and GO, with
TorchDrug, where ties fall as sorted).

Under bootstrap weights it is the mean, over the positive pairs, of the precision at their probability. The counts
behind that precision are sums over proteins, so all replicates are one matrix product, ``weights @ counts``, with a
column a positive pair; negative pairs cost nothing beyond the counting.

Values are those of torchmetrics' exact average precision (single precision); its binned variant is not used, as
most probabilities of a head with hundreds of terms lie in the lowest bin.
"""

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_average_precision

from plmdepth.metrics.accumulators import Estimate
from plmdepth.scores.bootstrap import checked_weights, estimate
from plmdepth.scores.inputs import checked_probabilities, checked_targets
from plmdepth.scores.stored import MEMORY, StoredProteins

_BLOCK = 2048
"""Columns of a matrix product: bounds the memory to a few times ``4 * 2048 * (proteins + replicates)`` bytes."""


class AveragePrecision(StoredProteins):
    """Average precision of all layers.

    Exact average precision needs every probability: ``proteins * terms * (4 n_layers + 1)`` bytes are kept, 110 MB for
    34 layers, 1,500 proteins and 538 terms.

    Args:
        n_replicates: number of bootstrap replicates.
        memory: the most bytes that may be kept in this process.
    """

    def __init__(self, n_replicates: int = 0, memory: int = MEMORY) -> None:
        super().__init__(("probabilities", "targets"), n_replicates, memory)

    def update(self, probabilities: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        """Add proteins.

        Args:
            probabilities: ``[layer, protein, term]`` in [0, 1].
            targets: 0 or 1, ``[protein, term]``.
            weights: their bootstrap weights, ``[replicate, protein]``.

        Raises:
            ValueError: a value or a shape is not as said, or the memory does not suffice.
        """
        known = checked_probabilities(probabilities)
        true = checked_targets(known, targets)
        self._keep(weights, probabilities=known.transpose(0, 1).contiguous(), targets=true)

    def compute(self) -> Estimate:
        """Return the score of every layer."""
        probabilities, targets = self._kept("probabilities").transpose(0, 1).contiguous(), self._kept("targets")
        weights = self._kept_weights(targets)
        value = auprc_micro(probabilities, targets)
        n = torch.full_like(value, len(targets))
        replicates = weighted_auprc_micro(probabilities, targets, weights) if len(weights) else value[None][:0]
        return estimate(value, replicates, n)


def auprc_micro(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Return the average precision over all pairs of protein and term, ``[layer]``; NaN without a positive pair.

    Args:
        probabilities: ``[layer, protein, term]`` in [0, 1].
        targets: 0 or 1, ``[protein, term]``.

    Raises:
        ValueError: a value or a shape is not as said.

    >>> auprc_micro(torch.tensor([[[0.9, 0.8], [0.1, 0.7]]]), torch.tensor([[1, 0], [0, 1]])).item()
    0.8333333730697632
    """
    known = checked_probabilities(probabilities)
    true = checked_targets(known, targets)
    if not true.any():
        return known.new_full((len(known),), torch.nan, dtype=torch.float64)
    pairs = true.long().flatten()
    values = [binary_average_precision(layer.flatten(), pairs, validate_args=False) for layer in known]
    return torch.stack(values).double()


def weighted_auprc_micro(probabilities: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Return the average precision over all pairs under every weighting, ``[replicate, layer]``.

    Args:
        probabilities: ``[layer, protein, term]`` in [0, 1].
        targets: 0 or 1, ``[protein, term]``.
        weights: ``[replicate, protein]``; a weight of w stands for w copies.

    Returns:
        Computed in single precision; NaN where no positive pair has a weight.

    Raises:
        ValueError: a value or a shape is not as said.
    """
    known = checked_probabilities(probabilities)
    true = checked_targets(known, targets)
    rows = checked_weights(weights, len(weights), true).float()
    return torch.stack([_micro(layer, true, rows) for layer in known], dim=1).double()


def _micro(probabilities: Tensor, true: Tensor, weights: Tensor) -> Tensor:
    """Return the average precision of one layer, ``[replicate]``: thresholds from high to low, block by block."""
    n_proteins, n_terms = true.shape
    thresholds = (-probabilities[true]).unique()  # the least is the highest probability
    reached, pairs = torch.searchsorted(thresholds, -probabilities.flatten()).sort()
    gained = above = hits = weights.new_zeros(len(weights))
    for start in range(0, len(thresholds), _BLOCK):
        size = min(_BLOCK, len(thresholds) - start)
        first, last = torch.searchsorted(reached, torch.tensor([start, start + size], device=reached.device)).tolist()
        columns, rows = reached[first:last] - start, pairs[first:last] // n_terms
        new = weights @ _histogram(rows, columns, (n_proteins, size))
        positive = true.flatten()[pairs[first:last]]
        new_hits = torch.zeros_like(new).index_add_(1, columns[positive], weights[:, rows[positive]])
        all_above, all_hits = above[:, None] + new.cumsum(1), hits[:, None] + new_hits.cumsum(1)
        gained = gained + (new_hits * _ratio(all_hits, all_above)).sum(1)
        above, hits = all_above[:, -1], all_hits[:, -1]
    return gained / hits


def _histogram(rows: Tensor, columns: Tensor, shape: tuple[int, int]) -> Tensor:
    return torch.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).view(shape).float()


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole, 0.0)
