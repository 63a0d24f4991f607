"""Layer skip: what changes downstream, and in the prediction, when a layer adds nothing (Csordas et al. 2025)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from plmdepth.interventions.cuts import can_share, wavefront_from_cuts
from plmdepth.interventions.descent import Descent, Rows, clean_descent
from plmdepth.interventions.skipping import Component, skipped
from plmdepth.interventions.wavefront import wavefront
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.effective_depth import centre_of_mass
from plmdepth.metrics.metric import Curves, Reduction, Values
from plmdepth.metrics.quantity import Quantity
from plmdepth.metrics.regions import (
    COMPONENTS,
    Region,
    Scope,
    check_options,
    reduce_values,
    regions_of,
    relative_change,
)
from plmdepth.objectives.objective import Example

_BOUNDS = (0, math.inf)


@dataclass(frozen=True)
class LayerSkip:
    """Skip layer s (or its attention, or its MLP) at some residues and measure every later layer l at others.

    ``effect[s, l] = |c_l - c_l'| / |c_l|`` with ``c_l = h_l - h_{l-1}``, clean and changed, and ``output_effect[s] =
    |softmax(logits) - softmax(logits')|_2``. Both are reduced over tokens, then over sequences.

    Attributes:
        scope: ``all`` skips at every residue and measures at every residue. ``future`` (autoregressive) skips before a
            cut, the first token excepted, and measures from the cut on. ``targets`` (masked, diffusion) skips at the
            residues that are shown and measures where hidden ones are predicted.
        reduction: ``max`` (as published) or ``mean``.
        components: what is skipped.
        cuts: the cuts of ``scope=future``, as shares of the sequence; values are reduced over them as over tokens.
        max_rows: most branches that run at once; changes speed and memory, never a number.
    """

    name: ClassVar[str] = "layer_skip"
    scope: Scope = "all"
    reduction: Reduction = "max"
    components: Sequence[Component] = COMPONENTS
    cuts: Sequence[float] = (0.2, 0.4, 0.6, 0.8)
    max_rows: int = 8

    def __post_init__(self) -> None:
        check_options(self.components, self.cuts, self.max_rows)

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """``output_effect`` of every component, over the skipped layer."""
        label = "change of the prediction"
        return tuple(Quantity("layer_skip", "output_effect", "", label, c, 1, _BOUNDS) for c in self.components)

    @property
    def matrices(self) -> tuple[Quantity, ...]:
        """``effect`` of every component."""
        return tuple(Quantity("layer_skip", "effect", "", "change of the contribution", c) for c in self.components)

    def prepared(self, stack: LayerStack, examples: Iterable[Example]) -> Self:  # noqa: ARG002 (nothing to know)
        """Return the metric itself."""
        return self

    @torch.no_grad()
    def measure(self, stack: LayerStack, example: Example) -> Values:
        """Measure one sequence after the other: without padding, all branches share the same layer calls."""
        curves, matrices = zip(
            *(self._sequence(stack, example.sequence(row)) for row in range(len(example.targets))), strict=True
        )
        return Values(torch.stack(curves), torch.stack(matrices))

    def scalars(self, curves: Curves) -> dict[str, Tensor]:
        """Return ``ed_skip``, the centre of mass of the row means of ``effect``."""
        return {"ed_skip": centre_of_mass(curves["effect", "layer"].nanmean(-1))} if "layer" in self.components else {}

    def _sequence(self, stack: LayerStack, example: Example) -> tuple[Tensor, Tensor]:
        """Return output effects ``[component, layer]`` over 0..L and effects ``[component, layer, layer]``."""
        descent = clean_descent(stack, example.tokens)
        rows = Rows(stack, descent.call, self.max_rows)
        regions = regions_of(self.scope, self.cuts, stack, example)
        shared = self.scope == "future" and can_share(stack, descent.call)
        measure = _measure_cuts if shared else _measure_each
        found = [measure(rows, descent, regions, component, self.reduction) for component in self.components]
        outputs, effects = (
            torch.stack([reduce_values(torch.stack(each), 0, self.reduction) for each in parts])
            for parts in zip(*found, strict=True)
        )
        undefined = outputs.new_full((len(outputs), 1), torch.nan)
        return torch.cat([undefined, outputs], dim=1), effects


_Measured = tuple[Sequence[Tensor], Sequence[Tensor]]
"""For every region the output effect of every layer ``[layer]``, and the effects ``[layer, layer]``."""


def _measure_each(
    rows: Rows, descent: Descent, regions: Sequence[Region], component: Component, reduction: Reduction
) -> _Measured:
    """Measure with branches of their own for every region."""
    found = [_measure(rows, descent, region, component, reduction) for region in regions]
    return [outputs for outputs, _ in found], [effects for _, effects in found]


def _measure(
    rows: Rows, descent: Descent, region: Region, component: Component, reduction: Reduction
) -> tuple[Tensor, Tensor]:
    effects = _no_effects(rows, region)

    def watch(layer: int, entering: Tensor, leaving: Tensor) -> None:
        clean, changed = descent.contribution(layer)[:, region.measured], (leaving - entering)[:, region.measured]
        effects[: len(entering), layer - 1] = _effect(clean, changed, reduction)

    def change(layer: int) -> Tensor:
        return skipped(rows.stack, descent, layer, component, region.changed)

    states = wavefront(rows, descent, range(1, rows.stack.n_layers + 1), change, watch)
    return _output_effect(rows, descent, states[:, region.measured], region, reduction), effects


def _measure_cuts(
    rows: Rows, descent: Descent, regions: Sequence[Region], component: Component, reduction: Reduction
) -> _Measured:
    """Measure with one branch before the cuts, which all regions read."""
    cuts = [region.cut or 0 for region in regions]
    inside = [region.measured[cut:] for region, cut in zip(regions, cuts, strict=True)]
    effects = [_no_effects(rows, region) for region in regions]
    widest = max(regions, key=lambda region: region.cut or 0)

    def watch(layer: int, number: int, entering: Tensor, leaving: Tensor) -> None:
        clean = descent.contribution(layer)[:, regions[number].measured]
        changed = (leaving - entering)[:, inside[number]]
        effects[number][: len(entering), layer - 1] = _effect(clean, changed, reduction)

    def change(layer: int) -> Tensor:
        return skipped(rows.stack, descent, layer, component, widest.changed)

    states = wavefront_from_cuts(rows, descent, cuts, change, watch)
    measured = [each[:, some] for each, some in zip(states, inside, strict=True)]
    return [
        _output_effect(rows, descent, each, region, reduction) for each, region in zip(measured, regions, strict=True)
    ], effects


def _no_effects(rows: Rows, region: Region) -> Tensor:
    n_layers = rows.stack.n_layers
    return torch.full((n_layers, n_layers), torch.nan, dtype=torch.float64, device=region.measured.device)


def _effect(clean: Tensor, changed: Tensor, reduction: Reduction) -> Tensor:
    """Return the change of every branch, ``[branch]``, in double precision."""
    return reduce_values(relative_change(clean.float(), changed.float()), 1, reduction)


def _output_effect(rows: Rows, descent: Descent, states: Tensor, region: Region, reduction: Reduction) -> Tensor:
    """Return the change of the prediction of every branch, ``[branch]``, in double precision."""
    clean, changed = (rows.logits(each) for each in (descent.states[-1][:, region.measured], states))
    distance = torch.linalg.vector_norm(changed.float().softmax(-1) - clean.float().softmax(-1), dim=-1)
    return reduce_values(distance, 1, reduction)
