"""Average precision under many weightings of the proteins at once.

Average precision is the mean, over the positive pairs, of the precision at their probability. The counts behind that
precision are sums over proteins, so all replicates are one matrix product, ``weights @ counts``, with a column a
positive pair; negative pairs cost nothing beyond the counting.
"""

import torch
from torch import Tensor

from plmdepth.scores.bootstrap import checked_weights
from plmdepth.scores.inputs import checked_probabilities, checked_targets

_BLOCK = 2048
"""Columns of a matrix product: bounds the memory to a few times ``4 * 2048 * (proteins + replicates)`` bytes."""


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


def weighted_auprc_macro(probabilities: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Return the mean average precision over terms under every weighting, ``[replicate, layer]``.

    A term without a positive protein of positive weight is left out of that replicate, in all layers alike.

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
    return torch.stack([_macro(layer, true, rows) for layer in known], dim=1).double()


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


def _macro(probabilities: Tensor, true: Tensor, weights: Tensor) -> Tensor:
    """Return the mean average precision over terms of one layer, ``[replicate]``."""
    protein, term = true.nonzero(as_tuple=True)
    gained = weights.new_zeros(len(weights), true.shape[1])
    for start in range(0, len(term), _BLOCK):
        rows, columns = protein[start : start + _BLOCK], term[start : start + _BLOCK]
        reached = probabilities[:, columns] >= probabilities[rows, columns]
        above, hits = weights @ reached.float(), weights @ (reached & true[:, columns]).float()
        gained.index_add_(1, columns, weights[:, rows] * _ratio(hits, above))
    return (gained / (weights @ true.float())).nanmean(1)


def _histogram(rows: Tensor, columns: Tensor, shape: tuple[int, int]) -> Tensor:
    return torch.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).view(shape).float()


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole, 0.0)
