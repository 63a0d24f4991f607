"""Area under the precision-recall curve, as average precision: micro over all pairs, macro over terms.

``AP = sum_n (R_n - R_{n-1}) P_n`` over the distinct probabilities, from high to low; equal probabilities are one step,
so no order among them matters. Micro pools all pairs of protein and term (Hart et al. 2025 report it as AUPRC for EC
and GO, with TorchDrug, where ties fall as sorted). Macro is the mean over the terms that have a positive protein: a
term without one has no recall; it is left out and counted, never scored 0.

Values are those of torchmetrics' exact average precision (single precision); its binned variant is not used, as
most probabilities of a head with hundreds of terms lie in the lowest bin.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_average_precision, multilabel_average_precision

from plmdepth.metrics.accumulators import Estimate
from plmdepth.scores.bootstrap import bootstrap, estimate
from plmdepth.scores.inputs import checked_probabilities, checked_targets
from plmdepth.scores.stored import MEMORY, StoredProteins
from plmdepth.scores.weighted_precision import weighted_auprc_macro, weighted_auprc_micro


class MacroPrecision(NamedTuple):
    """Macro average precision and what it leaves out.

    Attributes:
        value: in [0, 1], ``[layer]``; NaN where no term has a positive protein.
        n_left_out: number of terms without a positive protein.
    """

    value: Tensor
    n_left_out: int


class PrecisionEstimates(NamedTuple):
    """Average precision of every layer, in [0, 1].

    Attributes:
        micro: over all pairs.
        macro: mean over the terms that have a positive protein; in a replicate, over those that have one drawn.
        n_left_out: number of terms without a positive protein.
    """

    micro: Estimate
    macro: Estimate
    n_left_out: int


class AveragePrecision(StoredProteins):
    """Micro and macro average precision of all layers.

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

    def compute(self) -> PrecisionEstimates:
        """Return both scores of every layer."""
        probabilities, targets = self._kept("probabilities").transpose(0, 1).contiguous(), self._kept("targets")
        weights = self._kept_weights(targets)
        macro, n_left_out = auprc_macro(probabilities, targets)
        return PrecisionEstimates(
            _estimate(auprc_micro(probabilities, targets), weighted_auprc_micro, probabilities, targets, weights),
            _estimate(macro, weighted_auprc_macro, probabilities, targets, weights),
            n_left_out,
        )


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


def auprc_macro(probabilities: Tensor, targets: Tensor) -> MacroPrecision:
    """Return the mean average precision over the terms that have a positive protein.

    Args:
        probabilities: ``[layer, protein, term]`` in [0, 1].
        targets: 0 or 1, ``[protein, term]``.

    Raises:
        ValueError: a value or a shape is not as said.

    >>> probabilities = torch.tensor([[[0.9, 0.8, 0.3], [0.1, 0.7, 0.2]]])
    >>> auprc_macro(probabilities, torch.tensor([[1, 0, 0], [0, 1, 0]]))
    MacroPrecision(value=tensor([0.7500], dtype=torch.float64), n_left_out=1)
    """
    known = checked_probabilities(probabilities)
    true = checked_targets(known, targets)
    present = true.any(0)
    if not present.any():
        return MacroPrecision(known.new_full((len(known),), torch.nan, dtype=torch.float64), len(present))
    return MacroPrecision(
        torch.stack([_by_term(layer[:, present], true[:, present]).mean() for layer in known]).double(),
        int((~present).sum()),
    )


def _by_term(probabilities: Tensor, true: Tensor) -> Tensor:
    """Return the average precision of every term of one layer, ``[term]``."""
    n_terms = true.shape[1]  # torchmetrics would refuse a single one
    return multilabel_average_precision(probabilities, true.long(), n_terms, average="none", validate_args=False)


def _estimate(
    value: Tensor, score: Callable[..., Tensor], probabilities: Tensor, targets: Tensor, weights: Tensor
) -> Estimate:
    n = torch.full_like(value, len(targets))
    if not len(weights):
        return estimate(value, value[None][:0], n)
    return bootstrap(partial(score, probabilities, targets), weights)._replace(value=value)
