"""``control=dead_layers``: layers that add nothing. A measurement must read them as dead."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from plmdepth.controls.control import Control
from plmdepth.errors import InputError
from plmdepth.language_models.checkpoints.placement import is_dispatched
from plmdepth.language_models.layer_stack import LayerStack


@dataclass(frozen=True)
class DeadLayers(Control):
    """Zero the out-projections of layers, so that their attention and MLP add exactly nothing.

    Attributes:
        layers: the layers, counted from 1; None takes the upper half of the stack.
    """

    layers: Sequence[int] | None = None

    def stack(self, stack: LayerStack) -> LayerStack:
        """Zero the out-projections in place and return the stack.

        Raises:
            InputError: there is no such layer, or norms would still change what enters a layer without contributions.
        """
        if stack.anatomy.wiring == "post_norm":
            raise InputError("control=dead_layers: in this family norms stand on the stream, so no layer can be dead")
        if is_dispatched(stack.module):
            raise InputError("control=dead_layers changes weights in memory; use model.placement=memory")
        first = stack.n_layers // 2 + 1
        layers = range(first, stack.n_layers + 1) if self.layers is None else self.layers
        if not layers:
            raise InputError(f"control.layers is empty; name layers from 1 to {stack.n_layers}: control.layers=[2,3]")
        wrong = [layer for layer in layers if not 1 <= layer <= stack.n_layers]
        if wrong:
            raise InputError(f"control.layers={wrong}: the model has layers 1 to {stack.n_layers}")
        for layer in layers:
            for part in (*stack.anatomy.attention_parts(layer), stack.anatomy.mlp_outputs[layer - 1]):
                _zero(part)
        return stack


@torch.no_grad()
def _zero(projection: torch.nn.Module) -> None:
    for parameter in projection.parameters():
        parameter.zero_()
