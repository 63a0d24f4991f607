"""What a regression reads of a pair of residues: how much every head of a layer attends from either to the other.

Attention maps are cut to residues, symmetrised and corrected by average product, in this order, as in Rao et al.
2020: ``S = A + A^T`` and ``F_ij = S_ij - S_i. S_.j / S_..``, a dot for a sum over residues. Special tokens have no part
in any of these sums.

In a causal model a residue attends to those before it alone, so ``A_ij`` is 0 for i < j and the symmetrised map holds
what the later residue of a pair gives to the earlier one.
"""

from collections.abc import Callable, Container

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack, LayerView, Need
from plmdepth.proteins.memory import reading
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.tasks.contacts import ContactProtein, Pairs

_TEN = Protein("ten", "MKTVRQERLK")
Take = Callable[[int, Tensor], None]
"""Receives a layer, from 1, and what its heads say of all pairs, ``[pair, head]``."""


def symmetrised(maps: Tensor) -> Tensor:
    """Return ``A + A^T`` over the last two axes."""
    return maps + maps.transpose(-1, -2)


def average_product_corrected(maps: Tensor) -> Tensor:
    """Return ``S_ij - S_i. S_.j / S_..`` over the last two axes (Dunn et al. 2008); a map of zeros stays as it is."""
    rows, columns = maps.sum(-1, keepdim=True), maps.sum(-2, keepdim=True)
    total = maps.sum((-1, -2), keepdim=True)
    return maps - rows * columns / total.masked_fill(total == 0, 1.0)


def pair_features(probabilities: Tensor, residues: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return what the heads of a layer say of pairs of residues, ``[pair, head]``.

    Args:
        probabilities: attention ``[head, query token, key token]`` of one protein.
        residues: the token of every residue in the order of the protein, ``[residue]``.
        first: i of every pair, ``[pair]``.
        second: j.
    """
    among = probabilities[:, residues[:, None], residues]
    return average_product_corrected(symmetrised(among))[:, first, second].T


class _PairAttention:
    """Hands on what each of some layers says of the pairs, and keeps nothing."""

    needs: frozenset[Need] = frozenset({"attention_scores"})

    def __init__(self, read: Callable[[Tensor], Tensor], layers: Container[int], take: Take) -> None:
        self._read, self._layers, self._take = read, layers, take

    def embedded(self, state: Tensor) -> None:
        pass

    def observe(self, view: LayerView) -> None:
        if view.layer in self._layers:
            assert view.attention_scores is not None
            self._take(view.layer, self._read(view.attention_scores.probabilities[0]))


@torch.no_grad()
def read_pairs(
    stack: LayerStack, each: ContactProtein, pairs: Pairs, layers: Container[int], take: Take, device: torch.device
) -> None:
    """Run a protein, alone and so without padding, and hand on what its layers say of pairs, one after the other.

    The model reads residues alone: structure tokens and coordinates would hold the answer.
    """
    tokens = stack.spelling.encode([each.protein.sequence]).to(device)
    residues = stack.spelling.tokens_of_residues(tokens, 0)
    first, second = _on(device, pairs.first), _on(device, pairs.second)
    observer = _PairAttention(lambda maps: pair_features(maps, residues, first, second), layers, take)
    with reading([each.protein]):
        stack.run(tokens, [observer])


def check_attention(stack: LayerStack, model: LanguageModel, device: torch.device) -> int:
    """Run a small protein and return the number of heads a layer.

    Raises:
        InputError: a token stands for several residues, as the vocabulary of a loaded model tells; a layer computes no
            attention that can be read; or layers differ in their heads.
    """
    if stack.spelling.unit != "residue":
        raise InputError(
            f"{model.name} spells several residues as one token, so a pair of residues has no attention of its own; "
            "choose a model with a token a residue"
        )
    found: list[int] = []
    ten = ContactProtein(_TEN, np.zeros((0, 2), dtype=np.int64), np.ones(10, dtype=bool), np.arange(10))
    try:
        read_pairs(stack, ten, ten.pairs(6), range(1, 1 + stack.n_layers), _count(found), device)
    except RuntimeError as error:
        if "softmax over keys" not in str(error):
            raise
        raise InputError(f"model={model.name} has no self-attention scores to read contacts from: {error}") from error
    if len(set(found)) != 1:
        raise InputError(f"model={model.name} has layers with different numbers of attention heads: {found}")
    return found[0]


def _count(found: list[int]) -> Take:
    return lambda _layer, features: found.append(features.shape[1])


def _on(device: torch.device, indices: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(indices).to(device)
