"""Temperature scaling: one number a layer that makes a head as sure as it may be, and changes no ranking of classes.

Logits z become ``sigmoid(z / T)`` or ``softmax(z / T)``; T minimises the negative log likelihood on validation proteins
(Guo et al. 2017; the code of Hart et al. 2025 divides the logits of every layer by such a T before it compares
probabilities with the threshold for leaving). The likelihood is concave in 1 / T, so Newton's steps, kept inside a
shrinking bracket, end at the one optimum, the same on every run. T stays within [1/20, 20]: a head without errors on
the validation proteins would otherwise ask for T = 0. These functions take logits, as rounded probabilities of 0 and 1
have none.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from plmdepth.scores.inputs import NOT_SCORED, checked_finite, checked_labels, checked_targets

HOTTEST = 20.0
"""The highest temperature; its inverse is the lowest."""

_STEPS = 100
_CLOSE = 1e-12

_Derivatives = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From the inverse temperature to the first two derivatives of the negative log likelihood."""


def fit_sigmoid_temperatures(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the temperature of every layer that makes ``sigmoid(z / T)`` most likely, ``[layer]``, double precision.

    Args:
        logits: ``[layer, protein, term]``.
        targets: 0 or 1, ``[protein, term]``.

    Raises:
        ValueError: a shape is not as said, a logit is not finite, or there are no proteins.
    """
    _checked_logits(logits)
    true = checked_targets(logits, targets)
    _checked_some(len(true))
    return torch.stack([1 / _least(_sigmoid_derivatives(layer.double(), true)) for layer in logits])


def fit_softmax_temperatures(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the temperature of every layer that makes ``softmax(z / T)`` most likely, ``[layer]``, double precision.

    Args:
        logits: ``[layer, item, class]``.
        labels: class of every item, -1 where it is not scored, ``[item]``.

    Raises:
        ValueError: a shape is not as said, a logit is not finite, or no item has a label.
    """
    _checked_logits(logits)
    classes = checked_labels(logits, labels)
    scored = classes != NOT_SCORED
    _checked_some(int(scored.sum()))
    return torch.stack([1 / _least(_softmax_derivatives(layer[scored].double(), classes[scored])) for layer in logits])


def sigmoid_at(logits: Tensor, temperatures: Tensor) -> Tensor:
    """Return ``sigmoid(z / T)`` of logits ``[layer, protein, term]`` and temperatures ``[layer]``."""
    return (logits / temperatures[:, None, None]).sigmoid()


def softmax_at(logits: Tensor, temperatures: Tensor) -> Tensor:
    """Return ``softmax(z / T)`` of logits ``[layer, item, class]`` and temperatures ``[layer]``."""
    return (logits / temperatures[:, None, None]).softmax(-1)


def _sigmoid_derivatives(logits: Tensor, true: Tensor) -> _Derivatives:
    towards = torch.where(true, logits, -logits)

    def derivatives(inverse: Tensor) -> tuple[Tensor, Tensor]:
        wrong = (-inverse * towards).sigmoid()  # not 1 - right, which rounds to 0
        return -(wrong * towards).mean(), (wrong * (1 - wrong) * towards.square()).mean()

    return derivatives


def _softmax_derivatives(logits: Tensor, classes: Tensor) -> _Derivatives:
    above = logits - logits.gather(1, classes[:, None])

    def derivatives(inverse: Tensor) -> tuple[Tensor, Tensor]:
        p = (inverse * above).softmax(-1)
        expected = (p * above).sum(-1, keepdim=True)
        return expected.mean(), (p * (above - expected).square()).sum(-1).mean()

    return derivatives


def _least(derivatives: _Derivatives) -> Tensor:
    """Return the inverse temperature at which the convex function is least, within the bounds."""
    bounds = torch.tensor([1 / HOTTEST, HOTTEST], dtype=torch.float64)
    low, high = bounds
    inverse = torch.ones((), dtype=torch.float64)
    for _ in range(_STEPS):
        slope, bend = derivatives(inverse)
        if slope == 0:
            break
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / bend
        nearer = step if low < step < high else (low * high).sqrt()
        if (nearer - inverse).abs() <= _CLOSE * inverse:
            break
        inverse = nearer
    return inverse


def _checked_logits(logits: Tensor) -> None:
    if logits.ndim != 3:
        raise ValueError(f"logits must be [layer, item, class], got {tuple(logits.shape)}")
    checked_finite("logits", logits)


def _checked_some(n_items: int) -> None:
    if not n_items:
        raise ValueError("a temperature needs at least one protein with a label")
