"""A quantity: one named number per layer, with its unit and bounds."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """What a curve shows.

    Attributes:
        metric: the measurement it belongs to, ``logit_lens``.
        name: ``kl_to_final``.
        unit: ``nats``; empty for a ratio or a cosine.
        label: what a reader is told on an axis.
        component: ``residual``, ``layer``, ``attention``, ``mlp``, a head, or empty.
        first_layer: 0 where the embedding state has a value, else 1.
        bounds: the least and the greatest possible value.
    """

    metric: str
    name: str
    unit: str
    label: str
    component: str = ""
    first_layer: int = 0
    bounds: tuple[float, float] = (-math.inf, math.inf)
