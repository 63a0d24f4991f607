"""Layer skip: what changes downstream, and in the prediction, when a layer adds nothing (Csordas et al. 2025)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

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
        measured = [
            [_measure(rows, descent, region, component, self.reduction) for region in regions]
            for component in self.components
        ]
        outputs = torch.stack(
            [reduce_values(torch.stack([output for output, _ in each]), 0, self.reduction) for each in measured]
        )
        effects = torch.stack(
            [reduce_values(torch.stack([effect for _, effect in each]), 0, self.reduction) for each in measured]
        )
        undefined = outputs.new_full((len(outputs), 1), torch.nan)
        return torch.cat([undefined, outputs], dim=1), effects


def _measure(
    rows: Rows, descent: Descent, region: Region, component: Component, reduction: Reduction
) -> tuple[Tensor, Tensor]:
    """Return the output effect of every layer ``[layer]`` and the effects ``[layer, layer]``, in double precision."""
    n_layers = rows.stack.n_layers
    effects = torch.full((n_layers, n_layers), torch.nan, dtype=torch.float64, device=region.measured.device)

    def watch(layer: int, entering: Tensor, leaving: Tensor) -> None:
        clean = descent.contribution(layer)[:, region.measured].float()
        changed = (leaving - entering)[:, region.measured].float()
        effects[: len(entering), layer - 1] = reduce_values(relative_change(clean, changed), 1, reduction)

    layers = range(1, n_layers + 1)

    def change(layer: int) -> Tensor:
        return skipped(rows.stack, descent, layer, component, region.changed)

    states = wavefront(rows, descent, layers, change, watch)
    clean, changed = (rows.logits(each[:, region.measured]) for each in (descent.states[-1], states))
    distance = torch.linalg.vector_norm(changed.float().softmax(-1) - clean.float().softmax(-1), dim=-1)
    return reduce_values(distance, 1, reduction), effects
