"""A quantity: one named number per layer, with its unit and bounds, and how it is shown."""

import math
from dataclasses import dataclass
from typing import Any, Literal

Scale = Literal["linear", "log", "symlog"]
"""``log`` for sizes and ``symlog`` for signed values that may span decades; both are linear where values do not."""


@dataclass(frozen=True)
class Quantity:
    """What a curve, or a matrix over pairs of layers, shows.

    Attributes:
        metric: the measurement it belongs to, ``logit_lens``.
        name: ``kl_to_final``.
        unit: ``nats``; empty for a ratio or a cosine.
        label: what a reader is told on an axis.
        component: ``residual``, ``layer``, ``attention``, ``mlp``, a head, or empty.
        first_layer: 0 where the embedding state has a value, else 1.
        bounds: the least and the greatest possible value.
        panel: label, with its unit, of the panel that it shares with others of the same; empty: its own label's.
        scale: of its axis.
        heading: of its column in the terminal. Where a metric gives none, all of its curves are shown.
        axes: what the rows and the columns of a matrix are.
    """

    metric: str
    name: str
    unit: str
    label: str
    component: str = ""
    first_layer: int = 0
    bounds: tuple[float, float] = (-math.inf, math.inf)
    panel: str = ""
    scale: Scale = "linear"
    heading: str = ""
    axes: tuple[str, str] = ("layer intervened on", "layer measured")

    def described(self) -> dict[str, Any]:
        """Return what a record says of it, so that it can be shown without the code that measured it."""
        return {
            "name": self.name,
            "component": self.component,
            "label": self.label,
            "bounds": [end if math.isfinite(end) else None for end in self.bounds],
            "panel": self.panel or (f"{self.label} ({self.unit})" if self.unit else self.label),
            "scale": self.scale,
            "heading": self.heading,
        }
