"""The clean run of one sequence, kept so that any number of branches can leave it at any layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plmdepth.language_models.layer_stack import LayerCall, LayerStack, LayerView, Need
from plmdepth.language_models.spelling.spelling import Tokens


@dataclass(frozen=True)
class Descent:
    """A clean run of one sequence without padding.

    Attributes:
        states: ``h_0 .. h_L``, each ``[1, token, feature]``.
        call: what every layer receives beside the state. At one sequence it broadcasts over any number of rows.
    """

    states: Sequence[Tensor]
    call: LayerCall

    def contribution(self, layer: int) -> Tensor:
        """Return ``c_l = h_l - h_{l-1}``, ``[1, token, feature]``."""
        return self.states[layer] - self.states[layer - 1]


class _States:
    needs: frozenset[Need] = frozenset({"states"})

    def __init__(self) -> None:
        self.kept: list[Tensor] = []

    def embedded(self, state: Tensor) -> None:
        self.kept.append(state)

    def observe(self, view: LayerView) -> None:
        self.kept.append(view.state)


def clean_descent(stack: LayerStack, tokens: Tokens) -> Descent:
    """Run one sequence and keep every state.

    Args:
        stack: the model.
        tokens: a batch of one sequence, unpadded.

    Raises:
        ValueError: the batch holds more than one sequence, or padding.
    """
    if len(tokens.ids) != 1 or not bool(tokens.attended.all()):
        raise ValueError("a descent takes one sequence without padding")
    state, call = stack.embed(tokens)
    seen = _States()
    seen.embedded(state)
    stack.resume(1, state, call, [seen])
    return Descent(seen.kept, call)


@dataclass
class Rows:
    """Runs layers on many rows in chunks: on a CPU a chunk should fit the cache, on a GPU it must fit the memory.

    Attributes:
        stack: the model.
        call: what every layer receives beside the state, of one sequence.
        most: most rows a chunk; halved, and kept so, when a device runs out of memory.
    """

    stack: LayerStack
    call: LayerCall
    most: int = 8

    def apply(self, layer: int, states: Tensor) -> Tensor:
        """Return the layer's output for every row, ``[row, token, feature]``."""
        return self.chunked(lambda chunk: (self.stack.apply_layer(layer, chunk, self.call),), states)[0]

    def chunked(self, run: Callable[..., tuple[Tensor, ...]], *states: Tensor) -> tuple[Tensor, ...]:
        """Return what ``run`` gives for all rows, calling it on chunks of them.

        Args:
            run: from chunks ``[row, ...]``, one of each argument, to tensors of as many rows.
            states: tensors of the same number of rows.
        """
        while True:
            try:
                chunks = zip(*(each.split(self.most) for each in states), strict=True)
                return tuple(torch.cat(parts) for parts in zip(*(run(*chunk) for chunk in chunks), strict=True))
            except torch.OutOfMemoryError:
                if self.most == 1:
                    raise
                self.most = max(1, self.most // 2)

    def logits(self, states: Tensor) -> Tensor:
        """Return ``head(norm(h))`` for every row, ``[row, ..., vocabulary]``."""
        return self.chunked(lambda chunk: (self.stack.logits(chunk),), states)[0]
