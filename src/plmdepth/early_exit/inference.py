"""Inference that leaves early: a protein that is sure is taken out of its batch, and no layer runs on it again."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from plmdepth.early_exit.batched_parts import BatchedParts
from plmdepth.early_exit.confidence import ProteinConfidence
from plmdepth.early_exit.policy import Fallback
from plmdepth.early_exit.reading import Reader
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.spelling.spelling import Tokens
from plmdepth.probes.layerwise.features import spelt
from plmdepth.proteins.batches import token_budget_batches
from plmdepth.proteins.protein import Protein

Predict = Callable[[int, Tensor], Tensor]
"""From a layer and what a head reads, ``[row, feature]``, to probabilities ``[row, class]``."""


class Left(NamedTuple):
    """What proteins left with.

    Attributes:
        probabilities: ``[protein, row, class]``: one row a protein, or one a residue, padded.
        present: which rows there are, ``[protein, row]``.
        layer: whose prediction it is, ``[protein]``.
        computed: layers that were run, ``[protein]``.
    """

    probabilities: Tensor
    present: Tensor
    layer: Tensor
    computed: Tensor


@dataclass(frozen=True)
class EarlyExit:
    """A model that is left as soon as a head is sure enough.

    Attributes:
        stack: the model.
        reader: how states become what heads read.
        predict: the heads.
        confidence: how sure the heads are of a protein.
        threshold: the confidence at which a protein leaves; above 1, none does.
        fallback: what is taken of one that never was sure.
        parts: what of a layer's call goes by protein.
        device: where the model is.
    """

    stack: LayerStack
    reader: Reader
    predict: Predict
    confidence: ProteinConfidence
    threshold: float
    fallback: Fallback
    parts: BatchedParts
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
        inside, places = torch.arange(len(state), device=state.device), self.reader.places(tokens)
        left: _Leaving | None = None
        for layer in range(1, self.stack.n_layers + 1):
            state = self.stack.apply_layer(layer, state, call)
            probabilities, present = self.answers(layer, state, places)
            if left is None:
                left = _Leaving(probabilities, present, self.fallback)
            sure = self.confidence(probabilities, present)
            staying = left.see(layer, inside, probabilities, sure, self.threshold)
            if not bool(staying.any()):
                break
            if not bool(staying.all()):
                call = self.parts.of(call, staying)
                state, places, inside = state[staying], places[staying], inside[staying]
        assert left is not None
        return left.found

    def answers(self, layer: int, state: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return what a head says of proteins, ``[protein, row, class]``, and which rows there are, ``[protein, row]``.

        Args:
            layer: the layer, from 1.
            state: ``h_l``, ``[protein, token, feature]``.
            places: where its rows are read.
        """
        present = self.reader.present(places)
        rows = self.predict(layer, self.reader.rows(layer, state, places))
        probabilities = rows.new_zeros((*present.shape, rows.shape[-1]))
        probabilities[present] = rows
        return probabilities, present


class _Leaving:
    """Keeps the best prediction so far of every protein of a batch."""

    def __init__(self, like: Tensor, present: Tensor, fallback: Fallback) -> None:
        self._fallback = fallback
        n = len(like)
        self._surest = like.new_full((n,), -torch.inf)
        self.found = Left(
            torch.empty_like(like),
            present,
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
