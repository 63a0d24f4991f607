"""Where an intervention acts and where it is measured: residues, scopes, layers; and the options that say so."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.interventions.skipping import Component
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.metric import InterveningMetric, Reduction
from plmdepth.metrics.quantity import Quantity
from plmdepth.objectives.objective import Example

Scope = Literal["all", "future", "targets"]
COMPONENTS: tuple[Component, ...] = ("layer", "attention", "mlp")


@dataclass(frozen=True)
class InterventionMask:
    """Where a branch is changed, and where it is measured: ``[token]``, boolean.

    With ``scope=future`` all that is changed lies before token ``cut``, and all that is measured from it on.
    """

    changed: Tensor
    measured: Tensor
    cut: int | None = None


@dataclass(frozen=True)
class ComponentIntervention(InterveningMetric):
    """A metric that changes layer s, its attention or its MLP, and measures later layers and the prediction.

    Attributes:
        scope: ``all`` changes every residue and measures every residue. ``future`` (autoregressive) changes those
            before a cut, the first token excepted, and measures from the cut on. ``targets`` (masked, diffusion)
            changes the residues that are shown and measures where hidden ones are predicted.
        reduction: ``max`` (as published) or ``mean``.
        components: what is changed.
        cuts: the cuts of ``scope=future``, as shares of the sequence; values are reduced over them as over tokens.
    """

    name: ClassVar[str]
    output_label: ClassVar[str]
    effect_label: ClassVar[str]
    scope: Scope = "all"
    reduction: Reduction = "max"
    components: Sequence[Component] = COMPONENTS
    cuts: Sequence[float] = (0.2, 0.4, 0.6, 0.8)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.components:
            raise InputError(f"metric.components is empty; choose among {', '.join(COMPONENTS)}")
        if not self.cuts or not all(0 < cut < 1 for cut in self.cuts):
            raise InputError(f"metric.cuts={list(self.cuts)}: give one share of the sequence or more, 0.5 say")

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """``output_effect`` of every component, over the changed layer."""
        return tuple(
            Quantity(self.name, "output_effect", "", self.output_label, component, 1, (0, math.inf))
            for component in self.components
        )

    @property
    def matrices(self) -> tuple[Quantity, ...]:
        """``effect`` of every component."""
        return tuple(
            Quantity(self.name, "effect", "", self.effect_label, component, 1, (0, math.inf))
            for component in self.components
        )


def intervention_masks(
    scope: Scope, cuts: Sequence[float], stack: LayerStack, example: Example
) -> list[InterventionMask]:
    """Return the masks of one sequence: one, or with ``scope=future`` one a cut.

    Raises:
        InputError: the model cannot have this scope.
    """
    residues = example.tokens.residues[0]
    if scope == "all":
        return [InterventionMask(residues, residues)]
    if scope == "targets":
        if stack.anatomy.causal:
            raise InputError(
                "metric.scope=targets needs rows that see both sides of a residue; use metric.scope=future or all"
            )
        return [InterventionMask(example.context[0], example.scored[0])]
    if not stack.anatomy.causal:
        raise InputError("metric.scope=future is for autoregressive models; use metric.scope=targets or all")
    position = torch.arange(len(residues), device=residues.device)
    edges = [max(2, round(share * len(residues))) for share in cuts]
    return [
        InterventionMask(residues & (position < cut) & (position > 0), residues & (position >= cut), cut)
        for cut in edges
    ]


def relative_change(clean: Tensor, changed: Tensor) -> Tensor:
    """Return ``|clean - changed| / |clean|``; 0 where both are zero: a dead layer that stays dead has not changed.

    Args:
        clean: contributions of the clean run, ``[1, token, feature]``.
        changed: contributions of the branches, ``[branch, token, feature]``.

    Returns:
        ``[branch, token]``.
    """
    size = torch.linalg.vector_norm(clean, dim=-1)
    change = torch.linalg.vector_norm(clean - changed, dim=-1)
    return torch.where(change == 0, 0.0, change / size)


def reduce_values(values: Tensor, axis: int, reduction: Reduction) -> Tensor:
    """Reduce in double precision; NaN where there is nothing to reduce, or where any value is NaN."""
    if values.shape[axis] == 0:
        return values.double().sum(axis) * torch.nan
    return values.double().amax(axis) if reduction == "max" else values.double().mean(axis)


def spaced_layers(n_layers: int, most: int | None) -> list[int]:
    """Return at most that many of the layers 0..L, evenly spaced, with 0 and L.

    >>> spaced_layers(12, 4)
    [0, 4, 8, 12]
    """
    count = n_layers + 1 if most is None else min(most, n_layers + 1)
    return [round(index * n_layers / (count - 1)) for index in range(count)]


def check_max_layers(most: int | None) -> None:
    """Refuse a number of layers that `spaced_layers` cannot give.

    Raises:
        InputError: there are fewer than two.
    """
    if most is not None and most < 2:
        raise InputError(f"metric.max_layers={most}: layers 0 and L make 2; null measures all")
