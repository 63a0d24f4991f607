"""Residual stream: how much each layer adds, and in which direction (Csordas et al. 2025; Sun et al. 2025)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from plmdepth.language_models.layer_stack import LayerStack, LayerView, Need
from plmdepth.metrics.averages import masked_mean
from plmdepth.metrics.effective_depth import last_turn_to_positive
from plmdepth.metrics.metric import BatchObserver, Curves, ObservingMetric
from plmdepth.metrics.quantity import Quantity, Scale
from plmdepth.objectives.objective import Example

COMPONENTS = ("layer", "attention", "mlp")

_PINNED = (
    "every layer ends in a norm, which sets the length of the stream: the cosine of a layer with its input follows "
    "from the angle between the states, about -sin(angle / 2), trained or not"
)
_PARTS: tuple[tuple[str, str, tuple[float, float], Scale], ...] = (
    ("contribution_norm", "norm of the contribution", (0, math.inf), "log"),
    ("relative_contribution", "contribution / its input", (0, math.inf), "log"),
    ("cosine", "cosine of contribution and its input", (-1, 1), "linear"),
)
_HEADINGS = {
    ("relative_contribution", "attention"): "attn.\nshare",
    ("relative_contribution", "mlp"): "MLP\nshare",
    ("cosine", "layer"): "cosine",
}
QUANTITIES = (
    Quantity("residual", "norm", "", "norm of the state", "residual", 0, (0, math.inf), "", "log", "state\nnorm"),
    *(
        Quantity("residual", name, "", label, component, 1, bounds, "", scale, _HEADINGS.get((name, component), ""))
        for component in COMPONENTS
        for name, label, bounds, scale in _PARTS
    ),
    Quantity("residual", "state_cosine", "", "cosine with the state before", "residual", 1, (-1, 1)),
    Quantity("residual", "angular_distance", "", "angle to the state before (share of pi)", "residual", 1, (0, 1)),
)


@dataclass(frozen=True)
class Residual(ObservingMetric):
    """Norms, relative contributions and directions in the residual stream, over all residues, in single precision.

    A ratio or cosine with a zero vector is undefined, and such residues do not enter its mean: ESM-2 gives hidden
    residues a zero embedding, so they have no ratio at layer 1. A dead layer contributes exactly 0 and has no cosine.
    """

    name: ClassVar[str] = "residual"
    title: ClassVar[str] = "What each layer adds to the residual stream"
    needs_head: ClassVar[bool] = False

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The norm over layers 0..L, all else over layers 1..L."""
        return QUANTITIES

    def observer(self, stack: LayerStack, example: Example) -> BatchObserver:  # noqa: ARG002 (others need the stack)
        """Return what measures the residues of one batch at every layer."""
        return _ResidualObserver(example.tokens.residues)

    def scalars(self, curves: Curves) -> dict[str, Tensor]:
        """Return ``ed_cosine``."""
        return {"ed_cosine": last_turn_to_positive(curves["cosine", "layer"])}

    def meaningless(self, stack: LayerStack) -> Mapping[str, str]:
        """``ed_cosine`` where layers end in a norm: at equal norms the layer's cosine is ``-sin(angle / 2)``."""
        return {"ed_cosine": _PINNED} if stack.anatomy.wiring == "post_norm" else {}


class _ResidualObserver:
    needs: frozenset[Need] = frozenset({"states", "contributions"})

    def __init__(self, residues: Tensor) -> None:
        self._residues = residues
        self._layers: list[Tensor] = []
        self._norm = torch.empty(0)

    def embedded(self, state: Tensor) -> None:
        self._norm = _norm(state.float())
        undefined = torch.full_like(self._norm, torch.nan).expand(len(QUANTITIES) - 1, -1, -1)
        self._add(torch.cat([self._norm[None], undefined]))

    def observe(self, view: LayerView) -> None:
        assert view.attention is not None
        assert view.mlp is not None
        entering, state = view.entering.float(), view.state.float()
        entering_norm, self._norm = self._norm, _norm(state)
        mlp_input = entering if view.wiring == "parallel" else view.mlp_input.float()
        mlp_norm = entering_norm if view.wiring == "parallel" else _norm(mlp_input)
        change = contribution_statistics(state - entering, entering, entering_norm)
        attention = contribution_statistics(view.attention.float(), entering, entering_norm)
        mlp = contribution_statistics(view.mlp.float(), mlp_input, mlp_norm)
        angle = angle_between(entering_norm, self._norm, change[0])
        self._add(torch.stack([self._norm, *change, *attention, *mlp, angle.cos(), angle / math.pi]))

    def values(self) -> Tensor:
        return torch.stack(self._layers, dim=-1).transpose(0, 1)

    def _add(self, values: Tensor) -> None:
        """Average ``[quantity, batch, token]`` over the residues at which each quantity is defined."""
        self._layers.append(masked_mean(values, self._residues & ~values.isnan()))


def contribution_statistics(contribution: Tensor, stream: Tensor, stream_norm: Tensor) -> list[Tensor]:
    """Compare a contribution with the stream that it was computed from.

    Args:
        contribution: ``[..., feature]``.
        stream: ``[..., feature]``.
        stream_norm: ``|stream|``, ``[...]``.

    Returns:
        ``|c|``, ``|c| / |h|`` and ``cos(c, h)``, each ``[...]``; NaN where a zero vector leaves them undefined.
    """
    norm = _norm(contribution)
    relative = torch.where(stream_norm > 0, norm / stream_norm, torch.nan)
    cosine = torch.linalg.vecdot(contribution, stream) / (norm * stream_norm)
    return [norm, relative, cosine.clamp(-1, 1)]


def angle_between(first: Tensor, second: Tensor, distance: Tensor) -> Tensor:
    """Return the angle between two vectors from their norms and their distance, in radians.

    Kahan's formula for the angle of a triangle from its sides: accurate for nearly equal vectors, where the arc cosine
    is not, and exactly 0 for equal ones. NaN where a vector is zero.

    Args:
        first: norm of one vector, ``[...]``.
        second: norm of the other.
        distance: norm of their difference.
    """
    long, short = torch.maximum(first, second), torch.minimum(first, second)
    gap = torch.where(short >= distance, distance - (long - short), short - (long - distance))
    numerator = ((long - short) + distance) * gap.clamp(min=0)
    denominator = (long + (short + distance)) * ((long - distance) + short).clamp(min=0)
    angle = 2 * torch.atan2(numerator.sqrt(), denominator.sqrt())
    return torch.where(short > 0, angle, torch.nan)


def _norm(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors, dim=-1)
