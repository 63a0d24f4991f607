"""Leaving for real against leaving on paper: the same layers, the same predictions, and no layer run in vain."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from plmdepth.early_exit.batched_parts import batched_parts
from plmdepth.early_exit.confidence import ProteinConfidence, max_probability
from plmdepth.early_exit.inference import EarlyExit
from plmdepth.early_exit.policy import FALLBACKS, Fallback, exits
from plmdepth.early_exit.reading import ProteinReader, Reader, ResidueReader
from plmdepth.language_models.layer_stack import LayerCall, LayerStack
from plmdepth.probes.layerwise.features import pooled_states, spelt
from plmdepth.probes.layerwise.heads import LayerHeads, linear_head
from plmdepth.proteins.protein import Protein
from tests.stacks import EVERYWHERE, PROTEINS, stack_of

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
    reader: Reader | None = None,
    share: float = 1.0,
) -> EarlyExit:
    predict: Callable[[int, Tensor], Tensor] = lambda layer, rows: heads.read(layer, rows).softmax(-1)  # noqa: E731
    rule = ProteinConfidence(max_probability, share)
    parts = batched_parts(stack, spelt(stack, ["MKTV", "M"], "cpu"), spelt(stack, ["MKTV", "M", "M"], "cpu"))
    return EarlyExit(
        stack, reader or ProteinReader(mean), predict, rule, threshold, fallback, parts, torch.device("cpu")
    )


def between(values: Tensor) -> float:
    """Return a number near the median that is none of the values, so that rounding decides nothing."""
    ordered = values.flatten().sort().values
    middle = len(ordered) // 2
    return ordered[middle - 1 : middle + 1].mean().item()


@pytest.mark.parametrize("family", sorted(EVERYWHERE))
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
            torch.testing.assert_close(left.probabilities[:, 0], wanted, rtol=0, atol=1e-5)
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


def residues_alone(stack: LayerStack, heads: LayerHeads, protein: Protein) -> Tensor:
    """Return what all heads say of the residues of one protein without padding, ``[layer, residue, class]``."""
    tokens = spelt(stack, [protein.sequence], "cpu")
    places = stack.spelling.tokens_of_residues(tokens, 0)
    with torch.no_grad():
        state, call = stack.embed(tokens)
        said = [heads.read(0, state[0, places])]
        for layer in range(1, stack.n_layers + 1):
            state = stack.apply_layer(layer, state, call)
            said.append(heads.read(layer, state[0, places]))
    return torch.stack(said).softmax(-1)


@pytest.mark.parametrize("family", ["esm2", "progen2_reverse"])
@pytest.mark.parametrize("fallback", FALLBACKS)
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_protein_leaves_when_a_share_of_its_residues_is_sure(family: str, fallback: Fallback, share: float) -> None:
    stack = stack_of(family)
    heads = heads_for(stack)
    alone = [residues_alone(stack, heads, protein) for protein in MANY]
    certain = torch.stack([sorted_certainty(said, share) for said in alone], dim=1)
    early = early_exit(stack, heads, between(certain[1:]), fallback, ResidueReader(stack.spelling), share)
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
            said = left.probabilities[row, left.present[row]]
            torch.testing.assert_close(said, alone[place][expected], rtol=0, atol=1e-5)
            layers.add(expected)
    assert len(layers) > 1


def sorted_certainty(said: Tensor, share: float) -> Tensor:
    """Return the certainty that a share of the residues reaches, by layer."""
    n = said.shape[1]
    needed = next(k for k in range(1, n + 1) if k / n >= share - 1e-9)
    return said.amax(-1).sort(descending=True).values[:, needed - 1]
