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
    if probability.shape != outcome.shape:
        raise ValueError(f"probability {tuple(probability.shape)} and outcome {tuple(outcome.shape)} do not fit")
    known = checked_probabilities(probability[..., None])[..., 0]
    edges = torch.linspace(0, 1, n_bins + 1, device=known.device)[1:-1]
    place = torch.bucketize(known, edges, right=True)
    empty = known.new_zeros(len(known), n_bins, dtype=torch.float64)
    n, said, came = (empty.scatter_add(1, place, each.double()) for each in (torch.ones_like(known), known, outcome))
    return ReliabilityCurve(said / n, came / n, n, (came - said).abs().sum(-1) / n.sum(-1))


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
