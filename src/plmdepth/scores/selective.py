"""Selective prediction: how much error is spared if the least sure proteins are not predicted.

Convention. Item i has confidence c_i and loss l_i. The selective risk at i is the mean loss of the items that are at
least as sure, and the area under the risk-coverage curve is its mean over items,

    r_i = mean of l_j over {j: c_j >= c_i},    aurc = (1/n) sum_i r_i

(Geifman et al. 2019): a step curve from coverage 1/n to 1, without a point at coverage 0. Equally
sure items enter together, so no order among them matters, and a head that is equally sure of everything has its mean
loss as aurc. The oracle ranks by the loss itself and enters items one by one, also those of equal loss: no confidence
does better. The excess is what confidence could still save,

    oracle = (1/n) sum_i mean of the i smallest losses,    excess_aurc = aurc - oracle >= 0

(exact, not the approximation ``r + (1 - r) ln(1 - r)`` for 0/1 loss). Hart et al. 2025 take the trapezoids between the
same points, without the half steps at both ends, and break ties as the sort leaves them.
"""

import torch
from torch import Tensor

from plmdepth.scores.bootstrap import checked_weights
from plmdepth.scores.inputs import checked_finite


def weighted_aurc(confidence: Tensor, loss: Tensor, weights: Tensor) -> Tensor:
    """Return the mean selective risk under every weighting of the items, ``[replicate, layer]``.

    It is in the unit of the loss, double precision, and NaN without items.

    Args:
        confidence: ``[layer, item]``.
        loss: ``[layer, item]``.
        weights: ``[replicate, item]``; a weight of w stands for w copies.

    Raises:
        ValueError: a shape is not as said, or a value is not finite.
    """
    known, losses = _checked(confidence, loss)
    rows = checked_weights(weights, len(weights), known.T)
    return torch.stack([_area(sure, lost, rows) for sure, lost in zip(known, losses, strict=True)], dim=1)


def weighted_excess_aurc(confidence: Tensor, loss: Tensor, weights: Tensor) -> Tensor:
    """Return `weighted_aurc` less that of the oracle, ``[replicate, layer]``.

    Rounding may leave a few 1e-16 below zero. Args and errors are those of `weighted_aurc`.
    """
    _, losses = _checked(confidence, loss)
    rows = checked_weights(weights, len(weights), losses.T)
    oracle = torch.stack([_oracle(lost, rows) for lost in losses], dim=1)
    return weighted_aurc(confidence, loss, weights) - oracle


def _area(confidence: Tensor, loss: Tensor, weights: Tensor) -> Tensor:
    """Return the area of one layer, ``[replicate]``."""
    doubt, order = (-confidence).sort()
    ordered = weights[:, order]
    last = torch.searchsorted(doubt, doubt, right=True) - 1  # the last of those that are equally sure
    covered = ordered.cumsum(1)[:, last]
    lost = (ordered * loss[order]).cumsum(1)[:, last]
    risk = torch.where(covered > 0, lost / covered, 0.0)
    return (ordered * risk).sum(1) / weights.sum(1)


def _oracle(loss: Tensor, weights: Tensor) -> Tensor:
    """Return the least area of one layer, ``[replicate]``.

    After copies B of smaller losses that sum to A, w copies of loss l have the risks ``(A + m l) / (B + m)``, m = 1..w;
    these add up to ``w l + (A - l B) (digamma(B + w + 1) - digamma(B + 1))``.
    """
    rising, place = loss.unique(return_inverse=True)  # equal losses are copies of one: right or wrong is two
    ordered = weights.new_zeros(len(weights), len(rising)).index_add(1, place, weights)
    copies, sums = (torch.nn.functional.pad(x.cumsum(1), (1, 0)) for x in (ordered, ordered * rising))
    harmonic = torch.digamma(copies + 1).diff(dim=1)
    risks = ordered * rising + (sums[:, :-1] - rising * copies[:, :-1]) * harmonic
    return risks.sum(1) / weights.sum(1)


def _checked(confidence: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
    if confidence.ndim != 2 or confidence.shape != loss.shape:
        raise ValueError(
            f"confidence and loss must be [layer, item], got {tuple(confidence.shape)} and {tuple(loss.shape)}"
        )
    return checked_finite("confidence", confidence), checked_finite("loss", loss)
