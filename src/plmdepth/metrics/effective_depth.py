"""Effective depth: single numbers that say how much of the stack a curve still changes in.

Every function takes curves over layers 0..L on the last axis and returns a layer for each curve, in double precision;
NaN where the curve never does what is asked.
"""

import torch
from torch import Tensor


def first_layer_below_half(curve: Tensor) -> Tensor:
    """Return the first layer whose value is below half of the curve's maximum (``ed_kl``, Csordas et al. 2025).

    A curve that is zero everywhere has nothing left to do from layer 0 on.

    >>> first_layer_below_half(torch.tensor([2.0, 1.5, 0.9, 0.0])).item()
    2.0
    """
    highest = curve.amax(-1, keepdim=True)
    return _first((curve < highest / 2) | (highest == 0))


def first_layer_above(curve: Tensor, threshold: float) -> Tensor:
    """Return the first layer whose value is above the threshold (``ed_overlap``)."""
    return _first(curve > threshold)


def last_turn_to_positive(curve: Tensor) -> Tensor:
    """Return the last layer at which the curve turns from negative to non-negative (``ed_cosine``).

    A layer without a value (the embedding, a dead layer) takes part in no turn.

    >>> last_turn_to_positive(torch.tensor([torch.nan, -0.1, 0.2, -0.3, 0.1])).item()
    4.0
    """
    turns = torch.zeros_like(curve, dtype=torch.bool)
    turns[..., 1:] = (curve[..., :-1] < 0) & (curve[..., 1:] >= 0)
    return curve.shape[-1] - 1 - _first(turns.flip(-1))


def centre_of_mass(curve: Tensor) -> Tensor:
    """Return the mean layer, weighted by the curve over layers 1..L (``ed_skip``); NaN does not count.

    >>> centre_of_mass(torch.tensor([0.0, 1.0, 1.0, torch.nan])).item()
    2.5
    """
    layers = torch.arange(1, curve.shape[-1] + 1, device=curve.device, dtype=torch.float64)
    return (curve.double() * layers).nansum(-1) / curve.double().nansum(-1)


def _first(reached: Tensor) -> Tensor:
    """Return the first index at which a condition holds, NaN where it never does."""
    index = reached.int().argmax(-1).double()
    return torch.where(reached.any(-1), index, torch.nan)
