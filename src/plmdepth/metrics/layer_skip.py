"""Layer skip: what changes downstream, and in the prediction, when a layer adds nothing (Csordas et al. 2025)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from plmdepth.interventions.cuts import can_share, wavefront_from_cuts
from plmdepth.interventions.descent import Descent, Rows, clean_descent
from plmdepth.interventions.skipping import Component, skipped
from plmdepth.interventions.wavefront import wavefront
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.effective_depth import centre_of_mass
from plmdepth.metrics.intervention_masks import (
    ComponentIntervention,
    InterventionMask,
    intervention_masks,
    reduce_values,
    relative_change,
)
from plmdepth.metrics.metric import Curves, Reduction
from plmdepth.objectives.objective import Example


@dataclass(frozen=True)
class LayerSkip(ComponentIntervention):
    """Skip layer s (or its attention, or its MLP) at some residues and measure every later layer l at others.

    ``effect[s, l] = |c_l - c_l'| / |c_l|`` with ``c_l = h_l - h_{l-1}``, clean and changed, and ``output_effect[s] =
    |softmax(logits) - softmax(logits')|_2``. Both are reduced over tokens, then over sequences.
    """

    name: ClassVar[str] = "layer_skip"
    title: ClassVar[str] = "What the prediction loses when a layer adds nothing"
    output_label: ClassVar[str] = "change of the prediction"
    effect_label: ClassVar[str] = "change of the contribution"

    def scalars(self, curves: Curves) -> dict[str, Tensor]:
        """Return ``ed_skip``, the centre of mass of the row means of ``effect``."""
        return {"ed_skip": centre_of_mass(curves["effect", "layer"].nanmean(-1))} if "layer" in self.components else {}

    def measure_sequence(self, stack: LayerStack, example: Example) -> tuple[Tensor, Tensor]:
        """Return output effects ``[component, layer]`` over 0..L and effects ``[component, layer, layer]``."""
        descent = clean_descent(stack, example.tokens)
        rows = Rows(stack, descent.call, self.max_rows)
        masks = intervention_masks(self.scope, self.cuts, stack, example)
        shared = self.scope == "future" and can_share(stack, descent.call)
        measure = _measure_cuts if shared else _measure_each
        found = [measure(rows, descent, masks, component, self.reduction) for component in self.components]
        outputs, effects = (
            torch.stack([reduce_values(torch.stack(each), 0, self.reduction) for each in parts])
            for parts in zip(*found, strict=True)
        )
        undefined = outputs.new_full((len(outputs), 1), torch.nan)
        return torch.cat([undefined, outputs], dim=1), effects


_Measured = tuple[Sequence[Tensor], Sequence[Tensor]]
"""For every mask the output effect of every layer ``[layer]``, and the effects ``[layer, layer]``."""


def _measure_each(
    rows: Rows, descent: Descent, masks: Sequence[InterventionMask], component: Component, reduction: Reduction
) -> _Measured:
    """Measure with branches of their own for every mask."""
    found = [_measure(rows, descent, mask, component, reduction) for mask in masks]
    return [outputs for outputs, _ in found], [effects for _, effects in found]


def _measure(
    rows: Rows, descent: Descent, mask: InterventionMask, component: Component, reduction: Reduction
) -> tuple[Tensor, Tensor]:
    effects = _no_effects(rows, mask)

    def watch(layer: int, entering: Tensor, leaving: Tensor) -> None:
        clean, changed = descent.contribution(layer)[:, mask.measured], (leaving - entering)[:, mask.measured]
        effects[: len(entering), layer - 1] = _effect(clean, changed, reduction)

    def change(layer: int) -> Tensor:
        return skipped(rows.stack, descent, layer, component, mask.changed)

    states = wavefront(rows, descent, range(1, rows.stack.n_layers + 1), change, watch)
    return _output_effect(rows, descent, states[:, mask.measured], mask, reduction), effects


def _measure_cuts(
    rows: Rows, descent: Descent, masks: Sequence[InterventionMask], component: Component, reduction: Reduction
) -> _Measured:
    """Measure with one branch before the cuts, which all masks read."""
    cuts = [mask.cut or 0 for mask in masks]
    inside = [mask.measured[cut:] for mask, cut in zip(masks, cuts, strict=True)]
    effects = [_no_effects(rows, mask) for mask in masks]
    widest = max(masks, key=lambda mask: mask.cut or 0)

    def watch(layer: int, number: int, entering: Tensor, leaving: Tensor) -> None:
        clean = descent.contribution(layer)[:, masks[number].measured]
        changed = (leaving - entering)[:, inside[number]]
        effects[number][: len(entering), layer - 1] = _effect(clean, changed, reduction)

    def change(layer: int) -> Tensor:
        return skipped(rows.stack, descent, layer, component, widest.changed)

    states = wavefront_from_cuts(rows, descent, cuts, change, watch)
    measured = [each[:, some] for each, some in zip(states, inside, strict=True)]
    return [
        _output_effect(rows, descent, each, mask, reduction) for each, mask in zip(measured, masks, strict=True)
    ], effects


def _no_effects(rows: Rows, mask: InterventionMask) -> Tensor:
    n_layers = rows.stack.n_layers
    return torch.full((n_layers, n_layers), torch.nan, dtype=torch.float64, device=mask.measured.device)


def _effect(clean: Tensor, changed: Tensor, reduction: Reduction) -> Tensor:
    """Return the change of every branch, ``[branch]``, in double precision."""
    return reduce_values(relative_change(clean.float(), changed.float()), 1, reduction)


def _output_effect(
    rows: Rows, descent: Descent, states: Tensor, mask: InterventionMask, reduction: Reduction
) -> Tensor:
    """Return the change of the prediction of every branch, ``[branch]``, in double precision."""
    clean, changed = (rows.logits(each) for each in (descent.states[-1][:, mask.measured], states))
    distance = torch.linalg.vector_norm(changed.float().softmax(-1) - clean.float().softmax(-1), dim=-1)
    return reduce_values(distance, 1, reduction)
