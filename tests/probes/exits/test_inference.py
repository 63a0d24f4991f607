"""Leaving for real against leaving on paper: the same layers, the same predictions, and no layer run in vain."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from plmdepth.language_models.layer_stack import LayerCall, LayerStack
from plmdepth.probes.exits.inference import EarlyExit, rows_of
from plmdepth.probes.exits.policy import FALLBACKS, Fallback, exits
from plmdepth.probes.layerwise.features import pooled_states, spelt
from plmdepth.probes.layerwise.heads import LayerHeads, linear_head
from plmdepth.proteins.protein import Protein
from tests.stacks import MODELS, PROTEINS, stack_of

MANY = (*PROTEINS, Protein("copy", PROTEINS[0].sequence[:40]), Protein("tiny", "MKV"))


def heads_for(stack: LayerStack) -> LayerHeads:
    torch.manual_seed(0)
    return LayerHeads(linear_head, stack.n_layers + 1, stack.width, 4).eval()


def mean(state: Tensor, residues: Tensor) -> Tensor:
    return torch.stack([row[mask].mean(0) for row, mask in zip(state, residues, strict=True)])


def probabilities_of(stack: LayerStack, heads: LayerHeads) -> Tensor:
    features = pooled_states(stack, spelt(stack, [p.sequence for p in MANY], "cpu"), "mean")
    with torch.no_grad():
        return heads(features).softmax(-1).transpose(0, 1)


def early_exit(stack: LayerStack, heads: LayerHeads, threshold: float, fallback: Fallback) -> EarlyExit:
    predict: Callable[[int, Tensor], Tensor] = lambda layer, pooled: heads.read(layer, pooled).softmax(-1)  # noqa: E731
    return EarlyExit(stack, mean, predict, lambda p: p.amax(-1), threshold, fallback, torch.device("cpu"))


def between(values: Tensor) -> float:
    """Return a number near the median that is none of the values, so that rounding decides nothing."""
    ordered = values.flatten().sort().values
    middle = len(ordered) // 2
    return ordered[middle - 1 : middle + 1].mean().item()


@pytest.mark.parametrize("family", sorted(MODELS))
@pytest.mark.parametrize("fallback", FALLBACKS)
@pytest.mark.parametrize("budget", [80, 10_000])
def test_leaving_for_real_equals_leaving_on_paper(family: str, fallback: Fallback, budget: int) -> None:
    stack = stack_of(family)
    heads = heads_for(stack)
    probabilities = probabilities_of(stack, heads)
    confidence = probabilities.amax(-1)
    for threshold in (0.0, between(confidence[1:]), between(confidence[1:].amax(0)), 1.5):
        expected = exits(confidence, torch.tensor([threshold]), fallback)
        seen = []
        for batch, left in early_exit(stack, heads, threshold, fallback).run(MANY, budget):
            assert left.layer.tolist() == expected.layer[0][batch].tolist()
            assert left.computed.tolist() == expected.computed[0][batch].tolist()
            wanted = torch.stack([probabilities[expected.layer[0, i], i] for i in batch])
            torch.testing.assert_close(left.probabilities, wanted, rtol=0, atol=1e-5)
            seen += batch
        assert sorted(seen) == list(range(len(MANY)))


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


def test_a_call_is_cut_where_it_has_one_entry_a_row() -> None:
    kept = torch.tensor([True, False, True])
    call = LayerCall((torch.arange(3), None), {"mask": torch.arange(6).view(3, 2), "angles": (torch.ones(1, 5), 7)})
    cut = rows_of(call, kept, 3)
    assert cut.args[0].tolist() == [0, 2]
    assert cut.args[1] is None
    assert cut.kwargs["mask"].tolist() == [[0, 1], [4, 5]]
    assert cut.kwargs["angles"][0].shape == (1, 5)
    assert cut.kwargs["angles"][1] == 7
