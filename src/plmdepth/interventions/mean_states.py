"""The mean state of every layer over the data: what a position holds when it says nothing of its own."""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack, LayerView, Need
from plmdepth.language_models.spelling.spelling import Tokens


class HasTokens(Protocol):
    """A batch, as any objective presents it."""

    @property
    def tokens(self) -> Tokens:
        """What the model reads."""


@torch.no_grad()
def mean_states(stack: LayerStack, examples: Iterable[HasTokens]) -> Tensor:
    """Return ``b_l``, the mean of ``h_l`` over all residues of the data, every residue alike.

    Batches stream through, so memory does not grow with the data. Sums are taken in double precision.

    Args:
        stack: the model.
        examples: the data, batch by batch; hidden residues count as what the model reads, special tokens never.

    Returns:
        ``[L + 1, feature]``, layers 0..L, double precision.

    Raises:
        InputError: the data hold no residue.
        NonFiniteStateError: a state holds NaN or infinity; the message names the layer.
    """
    sums: Tensor | None = None
    n_residues = 0
    for example in examples:
        observer = _Sums(example.tokens.residues)
        stack.run(example.tokens, [observer])
        batch = torch.stack(observer.sums)
        sums = batch if sums is None else sums + batch
        n_residues += int(example.tokens.residues.sum())
    if sums is None or n_residues == 0:
        raise InputError("the mean state needs at least one residue; the dataset holds none")
    return sums / n_residues


class _Sums:
    """Adds up the residues of a batch, layer by layer, and keeps no state."""

    needs: frozenset[Need] = frozenset({"states"})

    def __init__(self, residues: Tensor) -> None:
        self._residues = residues
        self.sums: list[Tensor] = []

    def embedded(self, state: Tensor) -> None:
        self._add(state)

    def observe(self, view: LayerView) -> None:
        self._add(view.state)

    def _add(self, state: Tensor) -> None:
        self.sums.append(state[self._residues].sum(0, dtype=torch.float64))
