"""What a head reads: the states of all layers, pooled over a protein or residue by residue."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack, LayerView, Need
from plmdepth.language_models.spelling import Tokens

Pooling = Literal["mean", "cls"]
Reader = Callable[[Tensor], Tensor]


class _Reading:
    """Keeps what a reader makes of every state."""

    needs: frozenset[Need] = frozenset({"states"})

    def __init__(self, read: Reader) -> None:
        self._read = read
        self.layers: list[Tensor] = []

    def embedded(self, state: Tensor) -> None:
        self.layers.append(self._read(state))

    def observe(self, view: LayerView) -> None:
        self.layers.append(self._read(view.state))


def check_pooling(stack: LayerStack, pooling: Pooling) -> None:
    """Refuse a pooling that the model cannot have.

    Raises:
        InputError: there is no token before the first residue, or it sees no residue.
    """
    if pooling == "cls" and (not stack.spelling.prefix or stack.anatomy.causal):
        raise InputError("probe.pooling=cls needs a first token that reads the protein; use probe.pooling=mean")


@torch.no_grad()
def pooled_states(stack: LayerStack, tokens: Tokens, pooling: Pooling) -> Tensor:
    """Return one vector a protein and layer, ``[sequence, layer, feature]``, layers 0..L, single precision.

    ``mean`` is the mean of ``h_l`` over residues, without special tokens and padding; ``cls`` is the first token.
    """
    weights = tokens.residues.float() / tokens.residues.sum(1, keepdim=True)

    def mean(state: Tensor) -> Tensor:
        return torch.einsum("btf,bt->bf", state.float(), weights)

    def first(state: Tensor) -> Tensor:
        return state[:, 0].float()

    return _read(stack, tokens, mean if pooling == "mean" else first)


@torch.no_grad()
def residue_states(stack: LayerStack, tokens: Tokens, kept: Tensor) -> Tensor:
    """Return the states of some residues, ``[residue, layer, feature]``, layers 0..L, single precision.

    Args:
        stack: the model.
        tokens: a padded batch.
        kept: which tokens, ``[sequence, token]`` boolean.
    """
    return _read(stack, tokens, lambda state: state[kept].float())


def spelt(stack: LayerStack, sequences: Sequence[str], device: torch.device | str) -> Tokens:
    """Return proteins as the model reads them whole: nothing is hidden from it."""
    return stack.spelling.encode(sequences).to(device)


def _read(stack: LayerStack, tokens: Tokens, read: Reader) -> Tensor:
    reading = _Reading(read)
    stack.run(tokens, [reading])
    return torch.stack(reading.layers, dim=1)
