"""Proteins are taken out of a batch in every family, also where a shared table is as long as the batch by accident."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from plmdepth.early_exit.batched_parts import BatchedParts, batched_parts
from plmdepth.early_exit.confidence import ProteinConfidence, max_probability
from plmdepth.early_exit.inference import EarlyExit
from plmdepth.early_exit.policy import exits
from plmdepth.early_exit.reading import ProteinReader
from plmdepth.language_models.layer_stack import LayerCall, LayerStack, LayerView
from plmdepth.language_models.spelling.spelling import Tokens
from plmdepth.probes.layerwise.features import mean_state
from plmdepth.probes.layerwise.heads import LayerHeads, linear_head
from tests.stacks import ALL, example_for, stack_of, with_structure

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
    seen = States(tokens.residues)
    with torch.no_grad():
        stack.run(tokens, [seen])  # type: ignore[list-item]
        probabilities = (5 * heads(torch.stack(seen.kept, dim=1))).softmax(-1).transpose(0, 1)
    confidence = probabilities.amax(-1)
    threshold = parting(confidence)
    early = EarlyExit(
        stack,
        ProteinReader(lambda layer, states, residues: mean_state(states, residues)),
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
