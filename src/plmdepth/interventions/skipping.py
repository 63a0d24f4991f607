"""Skipping: a layer, its attention or its MLP adds nothing at chosen tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from plmdepth.interventions.descent import Descent
from plmdepth.language_models.layer_stack import LayerStack

Component = Literal["layer", "attention", "mlp"]


def skipped(stack: LayerStack, descent: Descent, layer: int, component: Component, tokens: Tensor) -> Tensor:
    """Return ``h_l`` of a clean run in which one component of layer l adds nothing at chosen tokens.

    Args:
        stack: the model.
        descent: the clean run.
        layer: l, from 1.
        component: ``layer`` leaves the state as it entered; ``attention`` and ``mlp`` zero that contribution, and what
            follows within the layer reads the result.
        tokens: where, ``[token]`` boolean.

    Returns:
        ``[1, token, feature]``.
    """
    entering = descent.states[layer - 1]
    if component == "layer":
        return torch.where(tokens[:, None], entering, descent.states[layer])
    with silenced(stack, layer, component, tokens):
        return stack.apply_layer(layer, entering, descent.call)


@contextmanager
def silenced(stack: LayerStack, layer: int, component: Component, tokens: Tensor) -> Iterator[None]:
    """Zero what attention or MLP of one layer adds at chosen tokens, while the context is open.

    Args:
        stack: the model; it is left as it was found, also after an exception.
        layer: l, from 1.
        component: ``attention`` or ``mlp``.
        tokens: where, ``[token]`` boolean.
    """
    anatomy = stack.anatomy
    parts = anatomy.attention_parts(layer) if component == "attention" else (anatomy.mlp_outputs[layer - 1],)

    def silence(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output.masked_fill(tokens[:, None], 0.0)

    handles = [part.register_forward_hook(silence) for part in parts]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
