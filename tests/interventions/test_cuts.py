"""One branch for every cut against branches of their own."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from plmdepth.interventions.cuts import can_share, wavefront_from_cuts
from plmdepth.interventions.descent import Descent, Rows, clean_descent
from plmdepth.interventions.skipping import Component, skipped
from plmdepth.interventions.wavefront import wavefront
from plmdepth.language_models.layer_stack import LayerCall, LayerStack
from plmdepth.metrics.layer_skip import LayerSkip
from tests.stacks import example_for, stack_of

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def before(descent: Descent, cut: int) -> Tensor:
    position = torch.arange(descent.states[0].shape[1])
    return (position > 0) & (position < cut)


def alone(stack: LayerStack, descent: Descent, component: Component, cut: int) -> Tensor:
    def change(layer: int) -> Tensor:
        return skipped(stack, descent, layer, component, before(descent, cut))

    return wavefront(Rows(stack, descent.call), descent, range(1, stack.n_layers + 1), change)[:, cut:]


def together(
    stack: LayerStack, descent: Descent, component: Component, cuts: list[int], max_rows: int = 8
) -> list[Tensor]:
    def change(layer: int) -> Tensor:
        return skipped(stack, descent, layer, component, before(descent, max(cuts)))

    return wavefront_from_cuts(Rows(stack, descent.call, max_rows), descent, cuts, change, lambda *_: None)


@pytest.mark.parametrize("family", ["progen2", "protgpt2"])
@pytest.mark.parametrize("component", ["layer", "attention", "mlp"])
@pytest.mark.parametrize("cuts", [[20], [13, 26, 40, 53], [40, 13], [2, 65]])
def test_cuts_that_share_a_branch_equal_branches_of_their_own(
    family: str, component: Component, cuts: list[int]
) -> None:
    stack = stack_of(family)
    descent = clean_descent(stack, example_for(stack).sequence(0).tokens)
    for cut, states in zip(cuts, together(stack, descent, component, cuts), strict=True):
        torch.testing.assert_close(states, alone(stack, descent, component, cut), **CLOSE)


@pytest.mark.parametrize("max_rows", [1, 2, 100])
def test_the_size_of_the_chunks_changes_nothing(max_rows: int) -> None:
    stack = stack_of("progen2")
    descent = clean_descent(stack, example_for(stack).sequence(0).tokens)
    few, usual = (together(stack, descent, "mlp", [13, 40], rows) for rows in (max_rows, 8))
    for mine, theirs in zip(few, usual, strict=True):
        torch.testing.assert_close(mine, theirs, **CLOSE)


def test_layers_run_fewer_tokens_than_with_a_branch_for_every_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of("progen2")
    tokens = {"number": 0}
    original = LayerStack.apply_layer

    def counting(self: LayerStack, layer: int, state: Tensor, call: LayerCall) -> Tensor:
        tokens["number"] += state.shape[0] * state.shape[1]
        return original(self, layer, state, call)

    monkeypatch.setattr(LayerStack, "apply_layer", counting)
    example = example_for(stack).sequence(0)
    n, n_layers = example.tokens.ids.shape[1], stack.n_layers
    LayerSkip(scope="future", components=("layer",)).measure(stack, example)
    cuts = [round(share * n) for share in (0.2, 0.4, 0.6, 0.8)]
    branches = n_layers * (n_layers - 1) // 2
    assert tokens["number"] == n_layers * n + branches * (max(cuts) + sum(n - cut for cut in cuts))


def test_without_keys_of_earlier_tokens_each_cut_has_its_branch_and_the_numbers_stay() -> None:
    stack = stack_of("progen2")
    unable = replace(stack, anatomy=replace(stack.anatomy, cache_argument=None))
    example = example_for(stack)
    assert can_share(stack, stack.embed(example.tokens)[1])
    assert not can_share(unable, unable.embed(example.tokens)[1])
    metric = LayerSkip(scope="future")
    for shared, single in zip(metric.measure(stack, example), metric.measure(unable, example), strict=True):
        torch.testing.assert_close(shared, single, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_gpt2_shares_where_its_mask_is_a_tensor() -> None:
    for attention, shares in (("eager", True), ("sdpa", False)):
        stack = stack_of("protgpt2", attention=attention)
        assert can_share(stack, clean_descent(stack, example_for(stack).sequence(0).tokens).call) is shares


def test_a_decoder_with_relative_positions_cannot_share() -> None:
    stack = stack_of("prot_t5")
    assert not can_share(stack, stack.embed(example_for(stack).tokens)[1])


def test_a_bidirectional_model_cannot_share() -> None:
    stack = stack_of("esm2")
    assert not can_share(stack, stack.embed(example_for(stack).tokens)[1])
