"""Where an intervention acts and where it is measured: residues, scopes, layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.interventions.skipping import Component
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.metric import Reduction
from plmdepth.objectives.objective import Example

Scope = Literal["all", "future", "targets"]
COMPONENTS: tuple[Component, ...] = ("layer", "attention", "mlp")


@dataclass(frozen=True)
class Region:
    """Where a branch is changed, and where it is measured: ``[token]``, boolean.

    With ``scope=future`` all that is changed lies before token ``cut``, and all that is measured from it on.
    """

    changed: Tensor
    measured: Tensor
    cut: int | None = None


def check_options(components: Sequence[Component], cuts: Sequence[float], max_rows: int) -> None:
    """Refuse options that leave nothing to measure.

    Raises:
        InputError: there is no component, no cut within the sequence, or no row.
    """
    if not components:
        raise InputError(f"metric.components is empty; choose among {', '.join(COMPONENTS)}")
    if not cuts or not all(0 < cut < 1 for cut in cuts):
        raise InputError(f"metric.cuts={list(cuts)}: give one share of the sequence or more, 0.5 say")
    if max_rows < 1:
        raise InputError(f"metric.max_rows={max_rows}: at least one branch runs at a time")


def regions_of(scope: Scope, cuts: Sequence[float], stack: LayerStack, example: Example) -> list[Region]:
    """Return the regions of one sequence: one, or with ``scope=future`` one a cut.

    Raises:
        InputError: the model cannot have this scope.
    """
    residues = example.tokens.residues[0]
    if scope == "all":
        return [Region(residues, residues)]
    if scope == "targets":
        if stack.anatomy.causal:
            raise InputError(
                "metric.scope=targets needs rows that see both sides of a residue; use metric.scope=future or all"
            )
        return [Region(example.context[0], example.scored[0])]
    if not stack.anatomy.causal:
        raise InputError("metric.scope=future is for autoregressive models; use metric.scope=targets or all")
    position = torch.arange(len(residues), device=residues.device)
    edges = [max(2, round(share * len(residues))) for share in cuts]
    return [Region(residues & (position < cut) & (position > 0), residues & (position >= cut), cut) for cut in edges]


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
