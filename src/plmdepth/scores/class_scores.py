"""Scores of a single label: accuracy, macro accuracy and Matthews' correlation, of proteins or of residues.

With h_k hits, t_k items of class k and p_k items predicted to be of class k, all over the items with a label,

    accuracy       = sum_k h_k / sum_k t_k
    macro accuracy = mean over the classes with t_k > 0 of h_k / t_k
    mcc            = (s sum_k h_k - sum_k t_k p_k) / sqrt((s^2 - sum_k p_k^2) (s^2 - sum_k t_k^2)),   s = sum_k t_k

(Gorodkin 2004 for the multi-class mcc; 0 where the labels or the predictions are all of one class). The prediction is
the most probable class, the lowest of equals. Residues of all proteins are pooled.

The three counts suffice, so that no matrix of classes by classes is kept a layer. torchmetrics computes the same from
confusion matrices of one layer, but takes a class that is predicted and never true into the macro mean, as 0, and has
values of its own for two classes of which one is absent.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from plmdepth.metrics.accumulators import Estimate
from plmdepth.scores.bootstrap import estimate
from plmdepth.scores.inputs import NOT_SCORED, checked_labels, checked_probabilities
from plmdepth.scores.sums import ProteinSums


class ClassEstimates(NamedTuple):
    """Scores of every layer.

    Attributes:
        accuracy: in [0, 1]; NaN where no item has a label.
        macro_accuracy: in [0, 1]; NaN where no item has a label.
        mcc: in [-1, 1]; NaN where no item has a label.
        n_classes: number of classes that occur among the labels.
    """

    accuracy: Estimate
    macro_accuracy: Estimate
    mcc: Estimate
    n_classes: int


class ClassScores(ProteinSums):
    """Accumulates the scores of all layers in ``24 (1 + n_replicates) n_layers n_classes`` bytes.

    Args:
        n_layers: number of heads, L + 1.
        n_classes: number of classes.
        n_replicates: number of bootstrap replicates.
    """

    def __init__(self, n_layers: int, n_classes: int, n_replicates: int = 0) -> None:
        super().__init__((n_layers, 3, n_classes), n_replicates)

    def update(
        self, probabilities: Tensor, labels: Tensor, weights: Tensor | None = None, segment: Tensor | None = None
    ) -> None:
        """Add proteins or their residues.

        Args:
            probabilities: ``[layer, item, class]`` in [0, 1].
            labels: class of every item, -1 where it is not scored, ``[item]``.
            weights: bootstrap weights of the proteins, ``[replicate, protein]``.
            segment: the protein to which each item belongs, counted from 0 in this batch, ``[item]``; every item is a
                protein if it is not given.

        Raises:
            ValueError: a value or a shape is not as said.
        """
        self._add(class_counts(probabilities, labels, segment, None if weights is None else weights.shape[1]), weights)

    def compute(self) -> ClassEstimates:
        """Return the scores of every layer."""
        n = self.n.expand(self.shape[0])
        scores = accuracy_of(self.sums), macro_accuracy_of(self.sums), mcc_of(self.sums)
        right, macro, correlation = (estimate(rows[0], rows[1:], n) for rows in scores)
        return ClassEstimates(right, macro, correlation, int((self.sums[0, 0, 1] > 0).sum()))


def class_counts(
    probabilities: Tensor, labels: Tensor, segment: Tensor | None = None, n_segments: int | None = None
) -> Tensor:
    """Return hits, items and predictions of every class, ``[protein, layer, 3, class]``, double precision.

    Args:
        probabilities: ``[layer, item, class]`` in [0, 1].
        labels: class of every item, -1 where it is not scored, ``[item]``.
        segment: the protein to which each item belongs, ``[item]``; every item is a protein if it is not given.
        n_segments: number of proteins, if the last of them may have no item.

    Raises:
        ValueError: a value or a shape is not as said.
    """
    known = checked_probabilities(probabilities)
    classes = checked_labels(known, labels)
    protein = torch.arange(len(classes), device=classes.device) if segment is None else segment
    n_proteins = _number(protein, n_segments)
    scored = classes != NOT_SCORED
    predicted = known[:, scored].argmax(-1)
    true = classes[scored].expand_as(predicted)
    cell = protein[scored] * len(known) + torch.arange(len(known), device=known.device)[:, None]
    shape = (n_proteins, len(known), known.shape[2])
    right = predicted == true
    counts = (_count(cell[right], true[right], shape), _count(cell, true, shape), _count(cell, predicted, shape))
    return torch.stack(counts, dim=2)


def accuracy_of(counts: Tensor) -> Tensor:
    """Return the accuracy from counts ``[..., 3, class]`` of `class_counts`, summed over proteins."""
    hits, true, _ = counts.unbind(-2)
    return hits.sum(-1) / true.sum(-1)


def macro_accuracy_of(counts: Tensor) -> Tensor:
    """Return the macro accuracy from counts ``[..., 3, class]``."""
    hits, true, _ = counts.unbind(-2)
    return (hits / true).nanmean(-1)


def mcc_of(counts: Tensor) -> Tensor:
    """Return Matthews' correlation from counts ``[..., 3, class]``."""
    hits, true, predicted = counts.unbind(-2)
    total = true.sum(-1)
    covariance = total * hits.sum(-1) - (true * predicted).sum(-1)
    spread = (total**2 - (predicted**2).sum(-1)) * (total**2 - (true**2).sum(-1))
    value = torch.where(spread > 0, covariance / spread.sqrt(), 0.0)
    return torch.where(total > 0, value, torch.nan)


def _number(protein: Tensor, n_segments: int | None) -> int:
    at_least = int(protein.max()) + 1 if len(protein) else 0
    if n_segments is not None and n_segments < at_least:
        raise ValueError(f"{n_segments} proteins are fewer than the {at_least} of the items")
    return at_least if n_segments is None else n_segments


def _count(cell: Tensor, column: Tensor, shape: tuple[int, int, int]) -> Tensor:
    size = shape[0] * shape[1] * shape[2]
    return torch.bincount((cell * shape[2] + column).flatten(), minlength=size).view(shape).double()
