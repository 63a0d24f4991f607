"""Temperature scaling: one number a layer that makes a head as sure as it may be, and changes no ranking of classes.

Logits z become ``sigmoid(z / T)`` or ``softmax(z / T)``; T minimises the negative log likelihood on validation proteins
(Guo et al. 2017; the code of Hart et al. 2025 divides the logits of every layer by such a T before it compares
probabilities with the threshold for leaving). The likelihood is concave in 1 / T, so its slope has one root, which
Brent's method finds. T stays within [1/20, 20]: a head without errors on the validation proteins would otherwise ask
for T = 0. These functions take logits, as rounded probabilities of 0 and 1 have none. Classes whose logits are not
finite, as those that are never predicted, have no part: nor have the items of such a class.
"""

from collections.abc import Callable

import torch
from scipy.optimize import brentq
from torch import Tensor

from plmdepth.scores.inputs import NOT_SCORED, checked_finite, checked_labels, checked_targets

HOTTEST = 20.0
"""The highest temperature; its inverse is the lowest."""

_Slope = Callable[[float], float]
"""From the inverse temperature to the derivative of the negative log likelihood, which rises with it."""


def fit_sigmoid_temperatures(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the temperature of every layer that makes ``sigmoid(z / T)`` most likely, ``[layer]``, double precision.

    Args:
        logits: ``[layer, protein, term]``.
        targets: 0 or 1, ``[protein, term]``.

    Raises:
        ValueError: a shape is not as said, a logit is not finite, or there are no proteins.
    """
    known = _predicted(logits)
    true = checked_targets(logits, targets)[:, known]
    _checked_some(len(true))
    return torch.stack([_temperature(_sigmoid_slope(layer[:, known].double(), true)) for layer in logits])


def fit_softmax_temperatures(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the temperature of every layer that makes ``softmax(z / T)`` most likely, ``[layer]``, double precision.

    Args:
        logits: ``[layer, item, class]``.
        labels: class of every item, -1 where it is not scored, ``[item]``.

    Raises:
        ValueError: a shape is not as said, a logit is not finite, or no item has a label.
    """
    known = _predicted(logits)
    classes = checked_labels(logits, labels)
    scored = (classes != NOT_SCORED) & known[classes]
    _checked_some(int(scored.sum()))
    among = (known.cumsum(0) - 1)[classes[scored]]  # counted among the classes that are predicted
    return torch.stack([_temperature(_softmax_slope(layer[scored][:, known].double(), among)) for layer in logits])


def _sigmoid_slope(logits: Tensor, true: Tensor) -> _Slope:
    towards = torch.where(true, logits, -logits)
    return lambda inverse: -float(((-inverse * towards).sigmoid() * towards).mean())  # not 1 - right: it rounds to 0


def _softmax_slope(logits: Tensor, classes: Tensor) -> _Slope:
    above = logits - logits.gather(1, classes[:, None])
    return lambda inverse: float(((inverse * above).softmax(-1) * above).sum(-1).mean())


def _temperature(slope: _Slope) -> Tensor:
    """Return the temperature at which the slope is 0, or the bound that it points to."""
    low, high = 1 / HOTTEST, HOTTEST
    if slope(low) >= 0 and slope(1.0) == 0:  # no logit differs from another: any temperature is as good
        inverse = 1.0
    elif slope(low) >= 0:
        inverse = low
    elif slope(high) <= 0:
        inverse = high
    else:
        inverse = brentq(slope, low, high, xtol=1e-14, rtol=1e-13)
    return torch.tensor(1 / inverse, dtype=torch.float64)


def _predicted(logits: Tensor) -> Tensor:
    """Return which classes have logits everywhere, ``[class]`` boolean."""
    if logits.ndim != 3:
        raise ValueError(f"logits must be [layer, item, class], got {tuple(logits.shape)}")
    never = (logits == -torch.inf).all(dim=1).all(dim=0)
    checked_finite("logits", logits[:, :, ~never])
    return ~never


def _checked_some(n_items: int) -> None:
    if not n_items:
        raise ValueError("a temperature needs at least one protein with a label")
