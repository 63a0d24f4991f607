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

from functools import partial

import torch
from torch import Tensor

from plmdepth.metrics.accumulators import Estimate
from plmdepth.scores.bootstrap import bootstrap, checked_weights
from plmdepth.scores.inputs import checked_finite
from plmdepth.scores.stored import MEMORY, StoredProteins


class AURC(StoredProteins):
    """Area under the risk-coverage curve of all layers; keeps ``16 n_layers`` bytes an item.

    Args:
        n_replicates: number of bootstrap replicates.
        memory: the most bytes that may be kept in this process.
    """

    def __init__(self, n_replicates: int = 0, memory: int = MEMORY) -> None:
        super().__init__(("confidence", "loss"), n_replicates, memory)

    def update(self, confidence: Tensor, loss: Tensor, weights: Tensor | None = None) -> None:
        """Add items, proteins as a rule.

        Args:
            confidence: the more, the surer, ``[layer, item]``.
            loss: ``[layer, item]``.
            weights: their bootstrap weights, ``[replicate, item]``.

        Raises:
            ValueError: a shape is not as said, a value is not finite, or the memory does not suffice.
        """
        known, losses = _checked(confidence, loss)
        self._keep(weights, confidence=known.T.contiguous(), loss=losses.T.contiguous())

    def compute(self) -> Estimate:
        """Return the score of every layer."""
        confidence, loss = self._kept("confidence").T, self._kept("loss").T
        return bootstrap(partial(self._weighted, confidence, loss), self._kept_weights(confidence.T))

    @staticmethod
    def _weighted(confidence: Tensor, loss: Tensor, weights: Tensor) -> Tensor:
        return weighted_aurc(confidence, loss, weights)


class ExcessAURC(AURC):
    """Area between the risk-coverage curves of the head and of the oracle, of all layers; otherwise as `AURC`."""

    @staticmethod
    def _weighted(confidence: Tensor, loss: Tensor, weights: Tensor) -> Tensor:
        return weighted_excess_aurc(confidence, loss, weights)


def aurc(confidence: Tensor, loss: Tensor) -> Tensor:
    """Return the mean selective risk, ``[layer]``, in the unit of the loss, double precision; NaN without items.

    Args:
        confidence: the more, the surer, ``[layer, item]``.
        loss: ``[layer, item]``.

    Raises:
        ValueError: a shape is not as said, or a value is not finite.

    >>> aurc(torch.tensor([[0.9, 0.8]]), torch.tensor([[0.0, 1.0]])).item()
    0.25
    """
    return weighted_aurc(confidence, loss, _ones(confidence))[0]


def excess_aurc(confidence: Tensor, loss: Tensor) -> Tensor:
    """Return `aurc` less that of the oracle, ``[layer]``; rounding may leave a few 1e-16 below zero.

    Args and errors are those of `aurc`.

    >>> excess_aurc(torch.tensor([[0.8, 0.9]]), torch.tensor([[0.0, 1.0]])).item()
    0.5
    """
    return weighted_excess_aurc(confidence, loss, _ones(confidence))[0]


def weighted_aurc(confidence: Tensor, loss: Tensor, weights: Tensor) -> Tensor:
    """Return `aurc` under every weighting of the items, ``[replicate, layer]``.

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
    """Return `excess_aurc` under every weighting of the items, ``[replicate, layer]``.

    Args and errors are those of `weighted_aurc`.
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


def _ones(confidence: Tensor) -> Tensor:
    return confidence.new_ones(1, confidence.shape[-1], dtype=torch.float64)
