"""Calibration: whether what a head says with probability p comes true with frequency p.

Predictions fall into bins of equal width, ``[k/M, (k+1)/M)``, the last one closed. The reliability curve is the
frequency of the outcome against the mean probability in each bin, and the expected calibration error is the mean
distance between the two, weighted by the number of predictions,

    ece = sum_k (n_k / n) |frequency_k - mean probability_k|

(Guo et al. 2017; bins closed on the left, not on the right). A single label counts once: its probability is that
of the predicted class, its outcome whether that is right. Many labels count once a pair of protein and term: as nearly
all pairs are sure absences, which any head gets right, compare the error with the share of positives, not with 1.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from plmdepth.scores.inputs import NOT_SCORED, checked_labels, checked_probabilities, checked_targets

N_BINS = 15
"""As in Guo et al. 2017."""


class ReliabilityCurve(NamedTuple):
    """What was said and what came true, bin by bin.

    Attributes:
        probability: mean probability, ``[layer, bin]``; NaN in an empty bin.
        frequency: share that came true, ``[layer, bin]``; NaN in an empty bin.
        n: number of predictions, ``[layer, bin]``.
        error: expected calibration error in [0, 1], ``[layer]``; NaN without predictions.
    """

    probability: Tensor
    frequency: Tensor
    n: Tensor
    error: Tensor


class Reliability(Metric):
    """Accumulates the reliability curves of all layers in ``24 n_layers n_bins`` bytes.

    Args:
        n_layers: number of heads, L + 1.
        n_bins: number of bins of equal width.
    """

    full_state_update = False
    sums: Tensor

    def __init__(self, n_layers: int, n_bins: int = N_BINS) -> None:
        super().__init__()
        self.n_layers, self.n_bins = n_layers, n_bins
        self.add_state("sums", torch.zeros(n_layers, 3, n_bins, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, probability: Tensor, outcome: Tensor) -> None:
        """Add predictions, as `predicted_class` or `predicted_terms` give them.

        Args:
            probability: ``[layer, prediction]`` in [0, 1].
            outcome: whether it came true, ``[layer, prediction]``.

        Raises:
            ValueError: a value or a shape is not as said.
        """
        if probability.shape != outcome.shape or probability.shape[0] != self.n_layers:
            raise ValueError(f"expected {self.n_layers} layers, got {tuple(probability.shape)}, {tuple(outcome.shape)}")
        self.sums += _binned(checked_probabilities(probability[..., None])[..., 0], outcome, self.n_bins)

    def compute(self) -> ReliabilityCurve:
        """Return the curves."""
        n, probability, frequency = self.sums.unbind(1)
        error = (frequency - probability).abs().sum(-1) / n.sum(-1)
        return ReliabilityCurve(probability / n, frequency / n, n, error)


def reliability_curve(probability: Tensor, outcome: Tensor, n_bins: int = N_BINS) -> ReliabilityCurve:
    """Return the reliability curves and the expected calibration error.

    Args:
        probability: ``[layer, prediction]`` in [0, 1].
        outcome: whether it came true, ``[layer, prediction]``.
        n_bins: number of bins of equal width.

    Raises:
        ValueError: a value or a shape is not as said.

    >>> round(reliability_curve(torch.tensor([[0.75, 0.75]]), torch.tensor([[True, False]])).error.item(), 6)
    0.25
    """
    metric = Reliability(len(probability), n_bins).to(probability.device)
    metric.update(probability, outcome)
    return metric.compute()


def predicted_class(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probability of the predicted class and whether it is right, of the items with a label.

    Args:
        probabilities: ``[layer, item, class]`` in [0, 1].
        labels: class of every item, -1 where it is not scored, ``[item]``.

    Returns:
        Both ``[layer, item with a label]``.

    Raises:
        ValueError: a value or a shape is not as said.
    """
    known = checked_probabilities(probabilities)
    classes = checked_labels(known, labels)
    scored = classes != NOT_SCORED
    probability, predicted = known[:, scored].max(-1)
    return probability, predicted == classes[scored]


def predicted_terms(probabilities: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probability of every pair of protein and term and whether the protein has the term.

    Args:
        probabilities: ``[layer, protein, term]`` in [0, 1].
        targets: 0 or 1, ``[protein, term]``.

    Returns:
        Both ``[layer, protein * term]``.

    Raises:
        ValueError: a value or a shape is not as said.
    """
    known = checked_probabilities(probabilities)
    true = checked_targets(known, targets)
    return known.flatten(1), true.flatten().expand(len(known), -1)


def _binned(probability: Tensor, outcome: Tensor, n_bins: int) -> Tensor:
    """Return counts, summed probabilities and summed outcomes, ``[layer, 3, bin]``."""
    edges = torch.linspace(0, 1, n_bins + 1, device=probability.device)[1:-1]
    place = torch.bucketize(probability, edges, right=True)
    amounts = (torch.ones_like(probability), probability, outcome)
    empty = probability.new_zeros(len(probability), n_bins, dtype=torch.float64)
    return torch.stack([empty.scatter_add(1, place, amount.double()) for amount in amounts], dim=1)
