"""Direct effect: what a later layer reads from an earlier one without others in between (Csordas et al. 2025)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from plmdepth.interventions.descent import Descent, Rows, clean_descent
from plmdepth.interventions.skipping import Component
from plmdepth.language_models.layer_stack import LayerStack, LayerView, Need
from plmdepth.metrics.intervention_masks import (
    ComponentIntervention,
    InterventionMask,
    intervention_masks,
    reduce_values,
    relative_change,
)
from plmdepth.metrics.metric import Reduction
from plmdepth.objectives.objective import Example


@dataclass(frozen=True)
class DirectEffect(ComponentIntervention):
    """Take what layer s (or its attention, or its MLP) added out of the input of one later layer l alone.

    With ``x = h_{l-1} - c_s`` at the changed residues and ``x = h_{l-1}`` elsewhere, ``effect[s, l] = |c_l - c_l'| /
    |c_l|`` where ``c_l' = layer_l(x) - x``; everything else is the clean run. ``output_effect[s] = |softmax(logits) -
    softmax(logits')|_2`` with ``c_s`` taken out of ``h_L``, before the final norm and head. Both are reduced over
    tokens, then over sequences. Layer skip shows in addition what travels through the layers in between.

    ``output_effect`` is 0 with the scopes ``future`` and ``targets``: norm and head read a token at a time, and no
    measured residue is changed.
    """

    name: ClassVar[str] = "direct_effect"
    title: ClassVar[str] = "What later layers and the prediction read directly from a layer"
    output_label: ClassVar[str] = "direct change of the prediction"
    effect_label: ClassVar[str] = "direct change of the contribution"

    def measure_sequence(self, stack: LayerStack, example: Example) -> tuple[Tensor, Tensor]:
        """Return output effects ``[component, layer]`` over 0..L and effects ``[component, layer, layer]``."""
        masks = intervention_masks(self.scope, self.cuts, stack, example)
        descent = clean_descent(stack, example.tokens)
        rows = Rows(stack, descent.call, self.max_rows)
        added = contributions(stack, descent, self.components)
        found = [self._component(rows, descent, added[component], masks) for component in self.components]
        outputs, effects = (torch.stack(each) for each in zip(*found, strict=True))
        undefined = outputs.new_full((len(outputs), 1), torch.nan)
        return torch.cat([undefined, outputs], dim=1), effects

    def _component(
        self, rows: Rows, descent: Descent, added: Tensor, masks: Sequence[InterventionMask]
    ) -> tuple[Tensor, Tensor]:
        """Return output effects ``[layer]`` and effects ``[layer, layer]``, reduced over masks as over tokens."""
        outputs, effects = [], []
        for mask in masks:
            removed = added.masked_fill(~mask.changed[:, None], 0.0)
            outputs.append(_output_effect(rows, descent, removed, mask, self.reduction))
            effects.append(_effects(rows, descent, removed, mask, self.reduction))
        return reduce_values(torch.stack(outputs), 0, self.reduction), reduce_values(
            torch.stack(effects), 0, self.reduction
        )


class _Contributions:
    """Keeps what attention and MLP of every layer added."""

    needs: frozenset[Need] = frozenset({"contributions"})

    def __init__(self) -> None:
        self.attention: list[Tensor] = []
        self.mlp: list[Tensor] = []

    def embedded(self, state: Tensor) -> None:
        """See ``h_0``, to which nothing has been added."""

    def observe(self, view: LayerView) -> None:
        assert view.attention is not None
        assert view.mlp is not None
        self.attention.append(view.attention)
        self.mlp.append(view.mlp)


def contributions(stack: LayerStack, descent: Descent, components: Sequence[Component]) -> Mapping[Component, Tensor]:
    """Return what each component of every layer added in the clean run, ``[layer, token, feature]``, layers 1..L."""
    found: dict[Component, Tensor] = {
        "layer": torch.cat([descent.contribution(layer) for layer in range(1, stack.n_layers + 1)])
    }
    if set(components) - {"layer"}:
        seen = _Contributions()
        stack.resume(1, descent.states[0], descent.call, [seen])
        found |= {"attention": torch.cat(seen.attention), "mlp": torch.cat(seen.mlp)}
    return found


def _effects(rows: Rows, descent: Descent, removed: Tensor, mask: InterventionMask, reduction: Reduction) -> Tensor:
    """Return ``[layer taken out, layer measured]``, NaN on and below the diagonal; double precision."""
    n_layers = rows.stack.n_layers
    effects = torch.full((n_layers, n_layers), torch.nan, dtype=torch.float64, device=removed.device)
    for layer in range(2, n_layers + 1):
        entering = descent.states[layer - 1] - removed[: layer - 1]
        changed = (rows.apply(layer, entering) - entering)[:, mask.measured].float()
        clean = descent.contribution(layer)[:, mask.measured].float()
        effects[: layer - 1, layer - 1] = reduce_values(relative_change(clean, changed), 1, reduction)
    return effects


def _output_effect(
    rows: Rows, descent: Descent, removed: Tensor, mask: InterventionMask, reduction: Reduction
) -> Tensor:
    """Return ``[layer taken out]``, double precision."""
    final = descent.states[-1][:, mask.measured]
    clean, changed = (rows.logits(each) for each in (final, final - removed[:, mask.measured]))
    distance = torch.linalg.vector_norm(changed.float().softmax(-1) - clean.float().softmax(-1), dim=-1)
    return reduce_values(distance, 1, reduction)
