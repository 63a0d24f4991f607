"""Inference that leaves early: a protein that is sure is taken out of its batch, and no layer runs on it again.

For that it must be known which parts of a layer's call have one entry a protein. Masks have one, rotary angles and
relative positions have none. The shapes of one call do not tell: a table of positions may have as many rows as the
batch by accident. So two batches of one width that differ in the number of proteins alone are embedded, and what
differs between their calls is what goes by protein.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from plmdepth.early_exit.policy import Fallback, ProteinConfidence
from plmdepth.language_models.layer_stack import LayerCall, LayerStack
from plmdepth.language_models.spelling.spelling import Spelling, Tokens
from plmdepth.probes.layerwise.features import spelt
from plmdepth.proteins.batches import token_budget_batches
from plmdepth.proteins.protein import Protein

Predict = Callable[[int, Tensor], Tensor]
"""From a layer and the inputs of its head, ``[row, feature]``, to probabilities ``[row, class]``."""
Path = tuple[str | int, ...]
"""Where a tensor lies in a call: the number or name of the argument, then places in tuples."""


class HeadInputs(Protocol):
    """Makes the rows that heads take out of states."""

    def places(self, tokens: Tokens) -> Tensor:
        """Return where the rows of a batch lie, ``[protein, ...]``: a protein's part can be taken out."""

    def present(self, places: Tensor) -> Tensor:
        """Return which rows each protein has, ``[protein, row]`` boolean."""

    def rows(self, layer: int, state: Tensor, places: Tensor) -> Tensor:
        """Return the rows that are present, protein by protein, ``[row, feature]``, single precision.

        Args:
            layer: l, from 0.
            state: ``h_l``, ``[protein, token, feature]``.
            places: of the same proteins.
        """


@dataclass(frozen=True)
class ProteinInputs:
    """One row a protein.

    Attributes:
        pool: from a layer, its states and the residue mask ``[protein, token]`` to ``[protein, feature]``.
    """

    pool: Callable[[int, Tensor, Tensor], Tensor]

    def places(self, tokens: Tokens) -> Tensor:
        """Return the residue mask, ``[protein, token]``."""
        return tokens.residues

    def present(self, places: Tensor) -> Tensor:
        """Return that there is one row a protein, ``[protein, 1]``."""
        return torch.ones_like(places[:, :1])

    def rows(self, layer: int, state: Tensor, places: Tensor) -> Tensor:
        """Return the pooled states, ``[protein, feature]``."""
        return self.pool(layer, state, places)


@dataclass(frozen=True)
class ResidueInputs:
    """One row for every residue of a protein, from its first to its last.

    Attributes:
        spelling: tells where residues are.
    """

    spelling: Spelling

    def places(self, tokens: Tokens) -> Tensor:
        """Return the token of every residue, ``[protein, residue]``, -1 after the last."""
        found = [self.spelling.tokens_of_residues(tokens, row) for row in range(len(tokens.ids))]
        return pad_sequence(found, batch_first=True, padding_value=-1)

    def present(self, places: Tensor) -> Tensor:
        """Return where residues are, ``[protein, residue]``."""
        return places >= 0

    def rows(self, layer: int, state: Tensor, places: Tensor) -> Tensor:  # noqa: ARG002 (the signature of all inputs)
        """Return the states of residues, ``[residue, feature]``."""
        protein, residue = self.present(places).nonzero(as_tuple=True)
        return state[protein, places[protein, residue]].float()


@dataclass(frozen=True)
class BatchedParts:
    """What of a model's layer calls goes by protein.

    Attributes:
        by_protein: for every tensor of a call, whether its first dimension is that of proteins.
    """

    by_protein: Mapping[Path, bool]

    def of(self, call: LayerCall, kept: Tensor) -> LayerCall:
        """Return the call for some proteins of the batch; a part that all proteins share stays as it is.

        Args:
            call: of the whole batch.
            kept: the proteins to keep, ``[protein]`` boolean.

        Raises:
            RuntimeError: the call holds a tensor that the calls which were compared did not hold.
        """

        def cut(value: Any, path: Path) -> Any:
            if isinstance(value, Tensor):
                if path not in self.by_protein:
                    raise RuntimeError(f"layers receive {path}, which they did not when their calls were compared")
                return value[kept] if self.by_protein[path] and len(value) > 1 else value
            if not isinstance(value, tuple | list):
                return value
            parts = [cut(each, (*path, place)) for place, each in enumerate(value)]
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)

        args = tuple(cut(value, (place,)) for place, value in enumerate(call.args))
        return LayerCall(args, {name: cut(value, (name,)) for name, value in call.kwargs.items()})


@torch.no_grad()
def batched_parts(stack: LayerStack, few: Tokens, more: Tokens) -> BatchedParts:
    """Find out what of a model's layer calls goes by protein.

    Args:
        stack: the model.
        few: a batch with padding, so that there is a mask.
        more: another of the same width with more proteins.

    Raises:
        RuntimeError: a part grows with the number of proteins in another dimension than the first.
    """
    calls = [stack.embed(tokens)[1] for tokens in (few, more)]
    smaller, larger = (dict(_tensors([*enumerate(call.args), *call.kwargs.items()])) for call in calls)
    found = {path: small.shape != larger[path].shape for path, small in smaller.items()}
    for path in (path for path, differs in found.items() if differs):
        small, large = smaller[path], larger[path]
        if (len(small), len(large)) != (len(few.ids), len(more.ids)):
            raise RuntimeError(f"the proteins of {path} are not its first dimension: {small.shape}, {large.shape}")
    return BatchedParts(found)


def _tensors(parts: Iterable[tuple[str | int, Any]], path: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    """Yield every tensor with its path."""
    for place, value in parts:
        if isinstance(value, Tensor):
            yield (*path, place), value
        elif isinstance(value, tuple | list):
            yield from _tensors(enumerate(value), (*path, place))


class ExitPredictions(NamedTuple):
    """What the proteins of a batch leave with.

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
        inputs: how states become what heads take.
        predict: the heads.
        confidence: how sure the heads are of a protein.
        threshold: the confidence at which a protein leaves; above 1, none does.
        fallback: what is taken of one that never was sure.
        parts: what of a layer's call goes by protein.
        device: where the model is.
    """

    stack: LayerStack
    inputs: HeadInputs
    predict: Predict
    confidence: ProteinConfidence
    threshold: float
    fallback: Fallback
    parts: BatchedParts
    device: torch.device

    def run(self, proteins: Sequence[Protein], tokens_per_batch: int) -> Iterator[tuple[list[int], ExitPredictions]]:
        """Yield batches of like length: the places of their proteins, and what they leave with."""
        for batch in token_budget_batches([len(protein) for protein in proteins], tokens_per_batch):
            tokens = spelt(self.stack, [proteins[i].sequence for i in batch], self.device)
            yield batch, self.batch(tokens)

    @torch.no_grad()
    def batch(self, tokens: Tokens) -> ExitPredictions:
        """Return what the proteins of one batch leave with."""
        state, call = self.stack.embed(tokens)
        n, places = len(state), self.inputs.places(tokens)
        inside = torch.arange(n, device=state.device)  # the proteins that have not left
        taken_layer, computed = torch.zeros_like(inside), torch.zeros_like(inside)
        found, surest, everyone = torch.empty(0), torch.empty(0), self.inputs.present(places)
        for layer in range(1, self.stack.n_layers + 1):
            state = self.stack.apply_layer(layer, state, call)
            probabilities, present = self.predictions(layer, state, places)
            if layer == 1:
                found, surest = torch.empty_like(probabilities), probabilities.new_full((n,), -torch.inf)
            sure = self.confidence(probabilities, present)
            leaving = sure >= self.threshold
            better = sure > surest[inside] if self.fallback == "most_confident" else torch.ones_like(leaving)
            taken = leaving | better
            found[inside[taken]], taken_layer[inside[taken]] = probabilities[taken], layer
            computed[inside], surest[inside] = layer, torch.maximum(surest[inside], sure)
            if bool(leaving.all()):
                break
            if bool(leaving.any()):
                call = self.parts.of(call, ~leaving)
                state, places, inside = state[~leaving], places[~leaving], inside[~leaving]
        return ExitPredictions(found, everyone, taken_layer, computed)

    def predictions(self, layer: int, state: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return a head's probabilities ``[protein, row, class]``, and which rows there are, ``[protein, row]``.

        Args:
            layer: the layer, from 1.
            state: ``h_l``, ``[protein, token, feature]``.
            places: where its rows lie.
        """
        present = self.inputs.present(places)
        rows = self.predict(layer, self.inputs.rows(layer, state, places))
        probabilities = rows.new_zeros((*present.shape, rows.shape[-1]))
        probabilities[present] = rows
        return probabilities, present
