"""F1 max: the best protein-centric F1 over all thresholds, the score of the CAFA challenges and of DeepFRI.

At threshold t a protein is predicted to have the terms with ``p >= t``, and

    precision(t) = mean over proteins with at least one predicted term of (hits / predicted)
    recall(t)    = mean over proteins with at least one true term of (hits / true)
    F(t)         = 2 precision recall / (precision + recall),   f1_max = max over t of F(t).

F(t) is 0 where nothing is predicted at all. A protein without true terms is a miss for precision and no part of recall.
Sources: Radivojac et al. 2013 (CAFA: ``>=``, thresholds in steps of 0.01); Gligorijevic et al. 2021 (DeepFRI); Hart et
al. 2025 use this variant for EC and GO, no micro or term-centric one, by the code of TorchDrug, which tries every
probability that occurs as a threshold, splits equal ones, and counts proteins without true terms in recall, as 0. Where
every protein has a true term, the grid here never exceeds that value. The threshold is chosen on the proteins that are
scored, as in all these sources: a threshold chosen on other proteins does no better.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from plmdepth.metrics.accumulators import Estimate
from plmdepth.scores.bootstrap import estimate
from plmdepth.scores.inputs import checked_probabilities, checked_targets
from plmdepth.scores.sums import ProteinSums

THRESHOLDS = torch.arange(101) / 100
"""0.00, 0.01, ..., 1.00. A head whose probabilities all lie below 0.01 needs a finer grid."""


class F1MaxEstimate(NamedTuple):
    """F1 max of every layer.

    Attributes:
        score: in [0, 1], ``[layer]``; NaN where no protein has a true term.
        threshold: the lowest threshold that reaches it, ``[layer]``.
    """

    score: Estimate
    threshold: Tensor


class F1Max(ProteinSums):
    """Accumulates F1 max of all layers in ``8 (1 + n_replicates) n_layers (3 n_thresholds + 1)`` bytes.

    Args:
        n_layers: number of heads, L + 1.
        n_replicates: number of bootstrap replicates.
        thresholds: rising thresholds.
    """

    def __init__(self, n_layers: int, n_replicates: int = 0, thresholds: Tensor = THRESHOLDS) -> None:
        super().__init__((n_layers, 3 * len(thresholds) + 1), n_replicates)
        self.thresholds = _checked_thresholds(thresholds)

    def update(self, probabilities: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        """Add proteins.

        Args:
            probabilities: ``[layer, protein, term]`` in [0, 1].
            targets: 0 or 1, ``[protein, term]``.
            weights: their bootstrap weights, ``[replicate, protein]``.

        Raises:
            ValueError: a value or a shape is not as said.
        """
        self._add(torch.stack(_tables(probabilities, targets, self.thresholds), dim=1), weights)

    def compute(self) -> F1MaxEstimate:
        """Return F1 max of every layer."""
        value, best = _f1(self.sums).max(-1)
        n = self.n.expand(self.shape[0])
        return F1MaxEstimate(estimate(value[0], value[1:], n), self.thresholds.to(best.device)[best[0]])


def _tables(probabilities: Tensor, targets: Tensor, thresholds: Tensor) -> list[Tensor]:
    known = checked_probabilities(probabilities)
    true = checked_targets(known, targets)
    return [_table(layer, true, thresholds.to(known.device)) for layer in known]


def _table(probabilities: Tensor, true: Tensor, thresholds: Tensor) -> Tensor:
    """Return precision, whether anything is predicted, recall (a column a threshold) and whether anything is true."""
    reached = torch.bucketize(probabilities, thresholds, right=True)
    predicted = _at_or_above(reached, torch.ones_like(probabilities), len(thresholds))
    hits = _at_or_above(reached, true.float(), len(thresholds))
    n_true = true.sum(-1, keepdim=True)
    columns = [hits / predicted.clamp(min=1), predicted > 0, hits / n_true.clamp(min=1), n_true > 0]
    return torch.cat([column.double() for column in columns], dim=-1)


def _at_or_above(reached: Tensor, amount: Tensor, n_thresholds: int) -> Tensor:
    """Return the amount of every protein at or above every threshold, ``[protein, threshold]``."""
    histogram = amount.new_zeros(len(amount), n_thresholds + 1, dtype=torch.float64)
    histogram.scatter_add_(1, reached, amount.double())
    return histogram[:, 1:].flip(1).cumsum(1).flip(1)


def _f1(sums: Tensor) -> Tensor:
    """Return F(t), ``[..., threshold]``, from summed tables; NaN where nothing is true."""
    n_thresholds = sums.shape[-1] // 3
    precision, predicting, recall, with_true = sums.split([n_thresholds, n_thresholds, n_thresholds, 1], dim=-1)
    precision = torch.where(predicting > 0, precision / predicting, 0.0)
    recall = recall / with_true
    return torch.where(precision + recall == 0, 0.0, 2 * precision * recall / (precision + recall))


def _checked_thresholds(thresholds: Tensor) -> Tensor:
    if thresholds.ndim != 1 or not (thresholds.diff() > 0).all():
        raise ValueError("thresholds must rise")
    return thresholds.float()
