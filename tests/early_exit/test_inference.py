"""Leaving for real against leaving on paper: the same layers and predictions, in every family, and no layer in vain."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from plmdepth.early_exit.inference import (
    BatchedParts,
    EarlyExit,
    HeadInputs,
    ProteinInputs,
    ResidueInputs,
    batched_parts,
)
from plmdepth.early_exit.policy import FALLBACKS, Fallback, ProteinConfidence, exits, max_probability
from plmdepth.language_models.layer_stack import LayerCall, LayerStack, LayerView
from plmdepth.language_models.spelling.spelling import Tokens
from plmdepth.probes.layerwise.features import mean_state, pooled_states, spelt
from plmdepth.probes.layerwise.heads import LayerHeads, linear_head
from plmdepth.proteins.protein import Protein
from tests.stacks import ALL, PROTEINS, example_for, stack_of, with_structure

MANY = (*PROTEINS, Protein("copy", PROTEINS[0].sequence[:40]), Protein("tiny", "MKV"))


def heads_for(stack: LayerStack) -> LayerHeads:
    torch.manual_seed(0)
    return LayerHeads(linear_head, stack.n_layers + 1, stack.width, 4).eval()


def mean(layer: int, state: Tensor, residues: Tensor) -> Tensor:
    return torch.stack([row[mask].mean(0) for row, mask in zip(state, residues, strict=True)])


def probabilities_of(stack: LayerStack, heads: LayerHeads) -> Tensor:
    features = pooled_states(stack, spelt(stack, [p.sequence for p in MANY], "cpu"), "mean")
    with torch.no_grad():
        return heads(features).softmax(-1).transpose(0, 1)


def early_exit(
    stack: LayerStack,
    heads: LayerHeads,
    threshold: float,
    fallback: Fallback,
    inputs: HeadInputs | None = None,
    share: float = 1.0,
) -> EarlyExit:
    predict: Callable[[int, Tensor], Tensor] = lambda layer, rows: heads.read(layer, rows).softmax(-1)  # noqa: E731
    rule = ProteinConfidence(max_probability, share)
    parts = batched_parts(stack, spelt(stack, ["MKTV", "M"], "cpu"), spelt(stack, ["MKTV", "M", "M"], "cpu"))
    return EarlyExit(
        stack, inputs or ProteinInputs(mean), predict, rule, threshold, fallback, parts, torch.device("cpu")
    )


def between(values: Tensor) -> float:
    """Return a number near the median that is none of the values, so that rounding decides nothing."""
    ordered = values.flatten().sort().values
    middle = len(ordered) // 2
    return ordered[middle - 1 : middle + 1].mean().item()


@pytest.mark.parametrize("family", ["esm2", "progen2_reverse", "prot_t5_encoder"])
@pytest.mark.parametrize("fallback", FALLBACKS)
@pytest.mark.parametrize("budget", [80, 10_000])
def test_leaving_for_real_equals_leaving_on_paper(family: str, fallback: Fallback, budget: int) -> None:
    stack = stack_of(family)
    heads = heads_for(stack)
    probabilities = probabilities_of(stack, heads)
    confidence = probabilities.amax(-1)
    for threshold in (0.0, between(confidence[1:]), between(confidence[1:].amax(0)), 1.5):
        expected = exits(confidence, torch.tensor([threshold]), fallback)
        done = []
        for batch, left in early_exit(stack, heads, threshold, fallback).run(MANY, budget):
            assert left.layer.tolist() == expected.layer[0][batch].tolist()
            assert left.computed.tolist() == expected.computed[0][batch].tolist()
            wanted = torch.stack([probabilities[expected.layer[0, i], i] for i in batch])
            torch.testing.assert_close(left.probabilities[:, 0], wanted, rtol=0, atol=1e-5)
            done += batch
        assert sorted(done) == list(range(len(MANY)))


def test_a_protein_that_has_left_is_run_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of("esm2")
    heads, rows = heads_for(stack), []
    original = LayerStack.apply_layer

    def counting(self: LayerStack, layer: int, state: Tensor, call: LayerCall) -> Tensor:
        rows.append(len(state))
        return original(self, layer, state, call)

    monkeypatch.setattr(LayerStack, "apply_layer", counting)
    threshold = between(probabilities_of(stack, heads).amax(-1)[1:])
    rows.clear()
    computed = [left.computed for _, left in early_exit(stack, heads, threshold, "last").run(MANY, 10_000)]
    assert sum(rows) == int(torch.cat(computed).sum()) < stack.n_layers * len(MANY)


def residues_alone(stack: LayerStack, heads: LayerHeads, protein: Protein) -> Tensor:
    """Return all heads' predictions for the residues of one protein without padding, ``[layer, residue, class]``."""
    tokens = spelt(stack, [protein.sequence], "cpu")
    places = stack.spelling.tokens_of_residues(tokens, 0)
    with torch.no_grad():
        state, call = stack.embed(tokens)
        found = [heads.read(0, state[0, places])]
        for layer in range(1, stack.n_layers + 1):
            state = stack.apply_layer(layer, state, call)
            found.append(heads.read(layer, state[0, places]))
    return torch.stack(found).softmax(-1)


@pytest.mark.parametrize("family", ["esm2", "progen2_reverse"])
@pytest.mark.parametrize("fallback", FALLBACKS)
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_protein_leaves_when_a_share_of_its_residues_is_sure(family: str, fallback: Fallback, share: float) -> None:
    stack = stack_of(family)
    heads = heads_for(stack)
    alone = [residues_alone(stack, heads, protein) for protein in MANY]
    certain = torch.stack([sorted_certainty(found, share) for found in alone], dim=1)
    early = early_exit(stack, heads, between(certain[1:]), fallback, ResidueInputs(stack.spelling), share)
    layers = set()
    for batch, left in early.run(MANY, 150):
        for row, place in enumerate(batch):
            reached = [
                layer
                for layer in range(1, stack.n_layers + 1)
                if (alone[place][layer].amax(-1) >= early.threshold).double().mean() >= share - 1e-9
            ]
            surest = 1 + int(certain[1:, place].argmax()) if fallback == "most_confident" else stack.n_layers
            expected = reached[0] if reached else surest
            assert left.layer[row] == expected
            assert left.computed[row] == (reached[0] if reached else stack.n_layers)
            found = left.probabilities[row, left.present[row]]
            torch.testing.assert_close(found, alone[place][expected], rtol=0, atol=1e-5)
            layers.add(expected)
    assert len(layers) > 1


def sorted_certainty(found: Tensor, share: float) -> Tensor:
    """Return the certainty that a share of the residues reaches, by layer."""
    n = found.shape[1]
    needed = next(k for k in range(1, n + 1) if k / n >= share - 1e-9)
    return found.amax(-1).sort(descending=True).values[:, needed - 1]


SHORT = tuple(with_structure(f"p{i}", "MKTVACDEW"[: 9 - 2 * i]) for i in range(3))


def some(tokens: Tokens, rows: Sequence[int]) -> Tokens:
    index = torch.tensor(rows)
    source = None if tokens.source is None else some(tokens.source, rows)
    coordinates = None if tokens.coordinates is None else tokens.coordinates[index]
    return Tokens(tokens.ids[index], tokens.attended[index], tokens.residues[index], source, coordinates)


def parts_of(stack: LayerStack, tokens: Tokens) -> BatchedParts:
    return batched_parts(stack, some(tokens, [0, 1]), some(tokens, [0, 1, 1]))


class States:
    """Keeps the means over residues of all states."""

    needs = frozenset({"states"})

    def __init__(self, residues: Tensor) -> None:
        self.residues, self.kept = residues, list[Tensor]()

    def embedded(self, state: Tensor) -> None:
        self.kept.append(mean_state(state, self.residues))

    def observe(self, view: LayerView) -> None:
        self.kept.append(mean_state(view.state, self.residues))


def parting(confidence: Tensor) -> float:
    """Return the threshold, none of the confidences, at which proteins leave from the most layers."""
    values = confidence[1:, :3].flatten().sort().values
    between = (values[1:] + values[:-1]) / 2
    computed = exits(confidence, between, "last").computed
    return between[max(range(len(between)), key=lambda place: len(set(computed[place].tolist())))].item()


@pytest.mark.parametrize("rows", ["five", "as many as tokens", "twice as many as tokens"])
@pytest.mark.parametrize("family", sorted(ALL))
def test_who_stays_is_computed_as_if_nobody_had_left(family: str, rows: str) -> None:
    stack = stack_of(family)
    few = example_for(stack, SHORT).tokens
    width = few.ids.shape[1]
    n = {"five": 5, "as many as tokens": width, "twice as many as tokens": 2 * width}[rows]
    tokens = some(few, [place % 3 for place in range(n)])
    torch.manual_seed(0)
    heads = LayerHeads(linear_head, stack.n_layers + 1, stack.width, 4).eval()
    means = States(tokens.residues)
    with torch.no_grad():
        stack.run(tokens, [means])  # type: ignore[list-item]
        probabilities = (5 * heads(torch.stack(means.kept, dim=1))).softmax(-1).transpose(0, 1)
    confidence = probabilities.amax(-1)
    threshold = parting(confidence)
    early = EarlyExit(
        stack,
        ProteinInputs(lambda layer, states, residues: mean_state(states, residues)),
        lambda layer, features: (5 * heads.read(layer, features)).softmax(-1),
        ProteinConfidence(max_probability),
        threshold,
        "last",
        parts_of(stack, few),
        torch.device("cpu"),
    )
    left = early.batch(tokens)
    wanted = exits(confidence, torch.tensor([threshold]), "last")
    assert len(set(left.computed.tolist())) > 1, "some leave before others"
    assert left.layer.tolist() == wanted.layer[0].tolist()
    assert left.computed.tolist() == wanted.computed[0].tolist()
    expected = probabilities[wanted.layer[0], torch.arange(n)]
    torch.testing.assert_close(left.probabilities[:, 0], expected, rtol=0, atol=1e-5)


class Frames(NamedTuple):
    rotation: Tensor
    shared: Tensor


def test_a_call_is_cut_where_it_goes_by_protein_and_nowhere_else() -> None:
    parts = BatchedParts({("mask",): True, ("table",): False, ("frames", 0): True, ("frames", 1): False, (0,): True})
    kept = torch.tensor([True, False, True])
    frames = Frames(torch.arange(3), torch.arange(3))
    call = LayerCall((torch.arange(3), None), {"mask": torch.eye(3), "table": torch.eye(3), "frames": frames, "n": 7})
    cut = parts.of(call, kept)
    assert cut.args[0].tolist() == [0, 2]
    assert cut.args[1] is None
    assert cut.kwargs["mask"].tolist() == [[1, 0, 0], [0, 0, 1]]
    assert torch.equal(cut.kwargs["table"], torch.eye(3))
    assert isinstance(cut.kwargs["frames"], Frames)
    assert (cut.kwargs["frames"].rotation.tolist(), cut.kwargs["frames"].shared.tolist()) == ([0, 2], [0, 1, 2])
    assert cut.kwargs["n"] == 7


def test_a_mask_that_all_proteins_share_stays_and_an_unknown_tensor_stops() -> None:
    parts, kept = BatchedParts({("mask",): True}), torch.tensor([True, False])
    assert parts.of(LayerCall((), {"mask": torch.ones(1, 4)}), kept).kwargs["mask"].shape == (1, 4)
    with pytest.raises(RuntimeError, match=r"layers receive .*other.*, which they did not when their calls were com"):
        parts.of(LayerCall((), {"other": torch.ones(2)}), kept)


def test_a_part_whose_proteins_come_second_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of("esm2")
    original = LayerStack.embed

    def turned(self: LayerStack, tokens: Tokens) -> tuple[Tensor, LayerCall]:
        state, call = original(self, tokens)
        return state, replace(call, kwargs={"turned": state.transpose(0, 1)})

    monkeypatch.setattr(LayerStack, "embed", turned)
    with pytest.raises(RuntimeError, match=r"the proteins of \('turned',\) are not its first dimension"):
        parts_of(stack, example_for(stack, SHORT).tokens)


@pytest.mark.parametrize("family", ["esm2", "progen2_reverse", "prot_t5_encoder"])
def test_residues_come_in_the_order_of_their_protein(family: str) -> None:
    stack = stack_of(family)
    tokens = spelt(stack, [protein.sequence for protein in PROTEINS], "cpu")
    inputs = ResidueInputs(stack.spelling)
    places = inputs.places(tokens)
    present = inputs.present(places)
    assert present.sum(1).tolist() == [len(protein) for protein in PROTEINS]
    state = tokens.ids[..., None].expand(-1, -1, 2).double()
    letters = stack.spelling.letters
    read = "".join(protein.sequence for protein in PROTEINS)
    wanted = [letters.get(letter, letters["X"]) for letter in read]
    assert inputs.rows(3, state, places)[:, 0].tolist() == wanted
    kept = torch.tensor([True, False, True])
    some = inputs.rows(3, state[kept], places[kept])[:, 0].tolist()
    first, second = (len(protein) for protein in PROTEINS[:2])
    assert some == wanted[:first] + wanted[first + second :]


def test_a_protein_is_one_row_of_what_its_layer_pools() -> None:
    stack = stack_of("esm2")
    tokens = spelt(stack, [protein.sequence for protein in PROTEINS], "cpu")
    inputs = ProteinInputs(lambda layer, states, residues: layer * mean_state(states, residues))
    places = inputs.places(tokens)
    assert inputs.present(places).tolist() == [[True]] * 3
    state = torch.randn(*tokens.ids.shape, 5)
    wanted = [2 * row[mask].mean(0) for row, mask in zip(state, tokens.residues, strict=True)]
    torch.testing.assert_close(inputs.rows(2, state, places), torch.stack(wanted))
