"""Direct effect: what a later layer reads from an earlier one without others in between (Csordas et al. 2025)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from plmdepth.interventions.descent import Descent, Rows, clean_descent
from plmdepth.interventions.skipping import Component
from plmdepth.language_models.layer_stack import LayerStack, LayerView, Need
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
class DirectEffect:
    """Take what layer s (or its attention, or its MLP) added out of the input of one later layer l alone.

    With ``x = h_{l-1} - c_s`` at the changed residues and ``x = h_{l-1}`` elsewhere, ``effect[s, l] = |c_l - c_l'| /
    |c_l|`` where ``c_l' = layer_l(x) - x``; everything else is the clean run. ``output_effect[s] = |softmax(logits) -
    softmax(logits')|_2`` with ``c_s`` taken out of ``h_L``, before the final norm and head. Both are reduced over
    tokens, then over sequences. Layer skip shows in addition what travels through the layers in between.

    ``output_effect`` is 0 with the scopes ``future`` and ``targets``: norm and head read a token at a time, and no
    measured residue is changed.

    Attributes:
        scope: ``all`` changes every residue and measures every residue. ``future`` (autoregressive) changes those
            before a cut, the first token excepted, and measures from the cut on. ``targets`` (masked, diffusion)
            changes the residues that are shown and measures where hidden ones are predicted.
        reduction: ``max`` (as published) or ``mean``.
        components: what is taken out.
        cuts: the cuts of ``scope=future``, as shares of the sequence; values are reduced over them as over tokens.
        max_rows: most branches that run at once; changes speed and memory, never a number.
    """

    name: ClassVar[str] = "direct_effect"
    scope: Scope = "all"
    reduction: Reduction = "max"
    components: Sequence[Component] = COMPONENTS
    cuts: Sequence[float] = (0.2, 0.4, 0.6, 0.8)
    max_rows: int = 8

    def __post_init__(self) -> None:
        check_options(self.components, self.cuts, self.max_rows)

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """``output_effect`` of every component, over the layer that is taken out."""
        label = "direct change of the prediction"
        return tuple(Quantity("direct_effect", "output_effect", "", label, c, 1, _BOUNDS) for c in self.components)

    @property
    def matrices(self) -> tuple[Quantity, ...]:
        """``effect`` of every component."""
        label = "direct change of the contribution"
        return tuple(Quantity("direct_effect", "effect", "", label, c, 1, _BOUNDS) for c in self.components)

    def prepared(self, stack: LayerStack, examples: Iterable[Example]) -> Self:  # noqa: ARG002 (nothing to know)
        """Return the metric itself."""
        return self

    @torch.no_grad()
    def measure(self, stack: LayerStack, example: Example) -> Values:
        """Measure one sequence after the other: without padding, all branches share the same layer calls.

        Raises:
            InputError: the model cannot have this scope.
            NonFiniteStateError: a state holds NaN or infinity; the message names the layer.
        """
        curves, matrices = zip(
            *(self._sequence(stack, example.sequence(row)) for row in range(len(example.targets))), strict=True
        )
        return Values(torch.stack(curves), torch.stack(matrices))

    def scalars(self, curves: Curves) -> dict[str, Tensor]:  # noqa: ARG002 (it has none)
        """Return nothing."""
        return {}

    def _sequence(self, stack: LayerStack, example: Example) -> tuple[Tensor, Tensor]:
        """Return output effects ``[component, layer]`` over 0..L and effects ``[component, layer, layer]``."""
        regions = regions_of(self.scope, self.cuts, stack, example)
        descent = clean_descent(stack, example.tokens)
        rows = Rows(stack, descent.call, self.max_rows)
        added = contributions(stack, descent, self.components)
        found = [self._component(rows, descent, added[component], regions) for component in self.components]
        outputs, effects = (torch.stack(each) for each in zip(*found, strict=True))
        undefined = outputs.new_full((len(outputs), 1), torch.nan)
        return torch.cat([undefined, outputs], dim=1), effects

    def _component(
        self, rows: Rows, descent: Descent, added: Tensor, regions: Sequence[Region]
    ) -> tuple[Tensor, Tensor]:
        """Return output effects ``[layer]`` and effects ``[layer, layer]``, reduced over regions as over tokens."""
        outputs, effects = [], []
        for region in regions:
            removed = added.masked_fill(~region.changed[:, None], 0.0)
            outputs.append(_output_effect(rows, descent, removed, region, self.reduction))
            effects.append(_effects(rows, descent, removed, region, self.reduction))
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


def _effects(rows: Rows, descent: Descent, removed: Tensor, region: Region, reduction: Reduction) -> Tensor:
    """Return ``[layer taken out, layer measured]``, NaN on and below the diagonal; double precision."""
    n_layers = rows.stack.n_layers
    effects = torch.full((n_layers, n_layers), torch.nan, dtype=torch.float64, device=removed.device)
    for layer in range(2, n_layers + 1):
        entering = descent.states[layer - 1] - removed[: layer - 1]
        changed = (rows.apply(layer, entering) - entering)[:, region.measured].float()
        clean = descent.contribution(layer)[:, region.measured].float()
        effects[: layer - 1, layer - 1] = reduce_values(relative_change(clean, changed), 1, reduction)
    return effects


def _output_effect(rows: Rows, descent: Descent, removed: Tensor, region: Region, reduction: Reduction) -> Tensor:
    """Return ``[layer taken out]``, double precision."""
    final = descent.states[-1][:, region.measured]
    clean, changed = (rows.logits(each) for each in (final, final - removed[:, region.measured]))
    distance = torch.linalg.vector_norm(changed.float().softmax(-1) - clean.float().softmax(-1), dim=-1)
    return reduce_values(distance, 1, reduction)
