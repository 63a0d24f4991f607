"""Inference that leaves early: a protein that is sure is taken out of its batch, and no layer runs on it again."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from plmdepth.language_models.layer_stack import LayerCall, LayerStack
from plmdepth.language_models.spelling import Tokens
from plmdepth.probes.exits.policy import Fallback
from plmdepth.probes.layerwise.features import spelt
from plmdepth.proteins.batches import token_budget_batches
from plmdepth.proteins.protein import Protein

Predict = Callable[[int, Tensor], Tensor]
"""From a layer and pooled states ``[protein, feature]`` to probabilities ``[protein, class]``."""
Pool = Callable[[Tensor, Tensor], Tensor]
"""From states ``[protein, token, feature]`` and the residue mask to ``[protein, feature]``."""


class Left(NamedTuple):
    """What proteins left with.

    Attributes:
        probabilities: ``[protein, class]``.
        layer: whose prediction it is, ``[protein]``.
        computed: layers that were run, ``[protein]``.
    """

    probabilities: Tensor
    layer: Tensor
    computed: Tensor


@dataclass(frozen=True)
class EarlyExit:
    """A model that is left as soon as a head is sure enough.

    Attributes:
        stack: the model.
        pool: how states become what heads read.
        predict: the heads.
        confidence: how sure a prediction is: from ``[protein, class]`` to ``[protein]``.
        threshold: the confidence at which a protein leaves; above 1, none does.
        fallback: what is taken of one that never was sure.
        device: where the model is.
    """

    stack: LayerStack
    pool: Pool
    predict: Predict
    confidence: Callable[[Tensor], Tensor]
    threshold: float
    fallback: Fallback
    device: torch.device

    def run(self, proteins: Sequence[Protein], tokens_per_batch: int) -> Iterator[tuple[list[int], Left]]:
        """Yield batches of like length: the places of their proteins, and what they left with."""
        for batch in token_budget_batches([len(protein) for protein in proteins], tokens_per_batch):
            tokens = spelt(self.stack, [proteins[i].sequence for i in batch], self.device)
            yield batch, self.batch(tokens)

    @torch.no_grad()
    def batch(self, tokens: Tokens) -> Left:
        """Return what the proteins of one batch leave with."""
        state, call = self.stack.embed(tokens)
        inside = torch.arange(len(state), device=state.device)
        left: _Leaving | None = None
        residues = tokens.residues
        for layer in range(1, self.stack.n_layers + 1):
            state = self.stack.apply_layer(layer, state, call)
            probabilities = self.predict(layer, self.pool(state, residues))
            if left is None:
                left = _Leaving(probabilities, self.fallback)
            staying = left.see(layer, inside, probabilities, self.confidence(probabilities), self.threshold)
            if not bool(staying.any()):
                break
            if not bool(staying.all()):
                call = rows_of(call, staying, len(state))
                state, residues, inside = state[staying], residues[staying], inside[staying]
        assert left is not None
        return left.found


class _Leaving:
    """Keeps the best prediction so far of every protein of a batch."""

    def __init__(self, like: Tensor, fallback: Fallback) -> None:
        self._fallback = fallback
        n = len(like)
        self._surest = like.new_full((n,), -torch.inf)
        self.found = Left(
            torch.empty_like(like),
            torch.zeros(n, dtype=torch.long, device=like.device),
            torch.zeros(n, dtype=torch.long, device=like.device),
        )

    def see(self, layer: int, inside: Tensor, probabilities: Tensor, sure: Tensor, threshold: float) -> Tensor:
        """Take in the predictions of one layer; return which of the proteins inside stay, ``[inside]``."""
        leaving = sure >= threshold
        better = sure > self._surest[inside] if self._fallback == "most_confident" else torch.ones_like(leaving)
        taken = leaving | better
        self.found.probabilities[inside[taken]] = probabilities[taken]
        self.found.layer[inside[taken]] = layer
        self.found.computed[inside] = layer
        self._surest[inside] = torch.maximum(self._surest[inside], sure)
        return ~leaving


def rows_of(call: LayerCall, kept: Tensor, n_rows: int) -> LayerCall:
    """Return the call of a layer for some rows of a batch: what has one entry a row is cut, all else stays."""

    def cut(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[kept] if value.ndim > 0 and len(value) == n_rows and n_rows > 1 else value
        return type(value)(cut(each) for each in value) if isinstance(value, tuple | list) else value

    return LayerCall(tuple(cut(each) for each in call.args), {name: cut(each) for name, each in call.kwargs.items()})
