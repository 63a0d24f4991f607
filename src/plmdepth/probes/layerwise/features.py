"""What a head reads: the states of some layers, pooled over a protein or residue by residue."""

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack, NonFiniteStateError
from plmdepth.language_models.spelling.spelling import Spelling, Tokens

Pooling = Literal["mean", "cls", "attention"]
Reader = Callable[[Tensor], Tensor]


def check_pooling(stack: LayerStack, pooling: Pooling) -> None:
    """Refuse a pooling that the model cannot have.

    Raises:
        InputError: there is no token before the first residue, or it sees no residue; or tokens are no residues.
    """
    if pooling == "cls" and (not stack.spelling.prefix or stack.anatomy.causal):
        raise InputError("probe.pooling=cls needs a first token that reads the protein; use probe.pooling=mean")
    if pooling == "attention" and stack.spelling.unit != "residue":
        raise InputError("probe.pooling=attention weighs residues, and the model reads several at once; use mean")


def mean_state(state: Tensor, residues: Tensor) -> Tensor:
    """Return the mean over residues, ``[sequence, feature]``.

    Args:
        state: ``[sequence, token, feature]``.
        residues: ``[sequence, token]`` boolean.
    """
    return torch.einsum("btf,bt->bf", state.float(), residues.float() / residues.sum(1, keepdim=True))


def first_state(state: Tensor, residues: Tensor) -> Tensor:  # noqa: ARG001 (the signature of all poolings)
    """Return the first token, ``[sequence, feature]``."""
    return state[:, 0].float()


POOLS: MappingProxyType[Pooling, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {"mean": mean_state, "cls": first_state}
)
"""The poolings that nothing is learnt for."""


@torch.no_grad()
def pooled_states(stack: LayerStack, tokens: Tokens, pooling: Pooling, layers: Sequence[int] | None = None) -> Tensor:
    """Return one vector a protein and layer, ``[sequence, layer, feature]``, single precision.

    Args:
        stack: the model.
        tokens: a padded batch.
        pooling: ``mean`` is the mean of ``h_l`` over residues, without special tokens and padding; ``cls`` is the first
            token.
        layers: rising; None for 0..L. No layer is run beyond the last of them.
    """
    pool = POOLS[pooling]
    return _read(stack, tokens, layers, lambda state: pool(state, tokens.residues))


@torch.no_grad()
def residue_states(stack: LayerStack, tokens: Tokens, layers: Sequence[int] | None = None) -> Tensor:
    """Return the states of all residues, ``[residue, layer, feature]``, single precision.

    The residues of the first protein come first, each protein's from its first to its last, however it is spelt.

    Args:
        stack: the model.
        tokens: a padded batch.
        layers: as in `pooled_states`.
    """
    row, token = _residues(stack.spelling, tokens)
    return _read(stack, tokens, layers, lambda state: state[row, token].float())


def spelt(stack: LayerStack, sequences: Sequence[str], device: torch.device | str) -> Tokens:
    """Return proteins as the model reads them whole: nothing is hidden from it."""
    return stack.spelling.encode(sequences).to(device)


def _residues(spelling: Spelling, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Return the row and the token of every residue."""
    places = [spelling.tokens_of_residues(tokens, row) for row in range(len(tokens.ids))]
    rows = [torch.full_like(place, row) for row, place in enumerate(places)]
    return torch.cat(rows), torch.cat(places)


def _read(stack: LayerStack, tokens: Tokens, layers: Sequence[int] | None, read: Reader) -> Tensor:
    wanted = range(stack.n_layers + 1) if layers is None else layers
    state, call = stack.embed(tokens)
    found = [read(state)] if 0 in wanted else []
    for layer in range(1, max(wanted) + 1):
        state = stack.apply_layer(layer, state, call)
        if layer in wanted:
            found.append(read(state))
    features = torch.stack(found, dim=1)
    _check_finite(features, wanted)
    return features


def _check_finite(features: Tensor, layers: Sequence[int]) -> None:
    finite = features.isfinite().all(dim=2).all(dim=0).tolist()
    if not all(finite):
        layer = layers[finite.index(False)]
        raise NonFiniteStateError(f"the state after layer {layer} holds NaN or infinity; try model.dtype=float32")
