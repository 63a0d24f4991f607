"""The stack against the models' own forward pass, layer by layer."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack, LayerView, Need, NonFiniteStateError
from tests.certificate import Certify
from tests.recorder import Recorder, hooks_of, watched
from tests.stacks import ALL, HEADLESS, PROTEINS, example_for, own_forward, stack_of

FAMILIES = sorted(ALL)


def reference(stack: LayerStack) -> tuple[list[Tensor], Tensor | None]:
    """Return the inputs of all layers, the output of the last, and the logits of the model's own forward pass."""
    entered: list[Tensor] = []
    left: list[Tensor] = []
    hooks = []
    for module in dict.fromkeys(stack.anatomy.layers):  # a block that is shared between layers is hooked once
        hooks.append(module.register_forward_pre_hook(lambda _, args: entered.append(args[0])))
        hooks.append(
            module.register_forward_hook(lambda _m, _i, out: left.append(out[0] if type(out) is tuple else out))
        )
    logits = own_forward(stack, example_for(stack).tokens).get("logits")
    for hook in hooks:
        hook.remove()
    return [*entered, left[-1]], logits


def shares_layers(stack: LayerStack) -> bool:
    return len(set(stack.anatomy.layers)) < stack.n_layers


@pytest.mark.parametrize("family", FAMILIES)
def test_every_state_equals_the_models_own_in_a_padded_batch(family: str, certify: Certify) -> None:
    stack = stack_of(family)
    states, logits = reference(stack)
    ours = watched(stack).states
    assert len(ours) == len(states) == stack.n_layers + 1
    mine = None if stack.anatomy.head is None else stack.logits(ours[-1])
    certify(family, "its own forward pass, eager", ours, states, mine, logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_states_between_agree_with_the_published_hidden_states(family: str) -> None:
    stack = stack_of(family)
    published = own_forward(stack, example_for(stack).tokens, output_hidden_states=True)
    name = "decoder_hidden_states" if "decoder_hidden_states" in published else "hidden_states"
    ours = watched(stack).states
    for mine, theirs in zip(ours[:-1], published[name][:-1], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)
    # The last published state is after the final norm; ours is before it.
    torch.testing.assert_close(stack.anatomy.norm(ours[-1]), published[name][-1], rtol=0, atol=1e-5)
    if stack.anatomy.wiring != "post_norm":
        assert (ours[-1] - published[name][-1]).abs().max() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_reading_out_the_last_state_gives_the_models_logits(family: str) -> None:
    stack = stack_of(family)
    _, logits = reference(stack)
    state = watched(stack).states[-1]
    assert ALL[family].predicts == (stack.anatomy.head is not None) == (family not in HEADLESS)
    if stack.anatomy.head is None:
        assert logits is None
        with pytest.raises(InputError, match="predicts nothing by itself; choose a metric that needs no predictions"):
            stack.logits(state)
        return
    torch.testing.assert_close(stack.logits(state), logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_parity_would_notice_a_changed_layer(family: str) -> None:
    stack = stack_of(family)
    states, _ = reference(stack)
    with torch.no_grad():
        next(stack.anatomy.mlp_outputs[2].parameters()).mul_(1.01)
    ours = watched(stack).states
    if not shares_layers(stack):
        assert torch.equal(ours[2], states[2])
    assert (ours[3] - states[3]).abs().max() > 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_calls_every_layer_once_and_never_the_whole_model(family: str) -> None:
    stack, calls = stack_of(family), []
    layers = list(stack.anatomy.layers)
    for layer in dict.fromkeys(layers):
        layer.register_forward_hook(lambda module, *_: calls.append(module))
    stack.anatomy.norm.register_forward_hook(lambda module, *_: calls.append(module))
    watched(stack)
    assert calls == layers


@pytest.mark.parametrize("family", FAMILIES)
def test_resuming_from_any_layer_is_bit_equal(family: str) -> None:
    stack = stack_of(family)
    states = watched(stack).states
    with torch.no_grad():
        _, call = stack.embed(example_for(stack).tokens)
        for layer in range(1, stack.n_layers + 1):
            assert torch.equal(stack.resume(layer, states[layer - 1], call), states[-1])


@pytest.mark.parametrize("family", FAMILIES)
def test_contributions_add_up_to_the_change_of_the_stream(family: str) -> None:
    stack = stack_of(family)
    for view in watched(stack).views:
        assert view.attention is not None
        assert view.mlp is not None
        if stack.anatomy.wiring == "post_norm":
            assert (view.entering + view.attention + view.mlp - view.state).abs().max() > 0.1
            continue
        torch.testing.assert_close(view.entering + view.attention + view.mlp, view.state, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["esm2", "progen2"])
def test_the_mlp_reads_what_the_wiring_says(family: str) -> None:
    stack = stack_of(family)
    read: list[Tensor] = []
    norms = {
        "esm2": [layer.LayerNorm for layer in stack.anatomy.layers] if family == "esm2" else [],
        "progen2": [layer.ln_1 for layer in stack.anatomy.layers] if family == "progen2" else [],
    }[family]
    for norm in norms:
        norm.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    views = watched(stack).views
    for view, stream in zip(views, read, strict=True):
        torch.testing.assert_close(view.mlp_input, stream, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padding_and_batch_size_change_nothing(family: str, attention: str) -> None:
    if attention == "sdpa" and not ALL[family].architecture._supports_sdpa:
        pytest.skip("these blocks have eager attention only")
    stack = stack_of(family, attention=attention)
    with torch.no_grad():
        batch = example_for(stack).tokens
        together = stack.run(batch)
        for row, protein in enumerate(PROTEINS):
            alone = stack.run(example_for(stack, (protein,)).tokens)[0]
            torch.testing.assert_close(together[row, batch.attended[row]], alone, rtol=0, atol=1e-5)


def test_without_the_attention_mask_padding_would_leak() -> None:
    stack = stack_of("esm2")
    tokens = example_for(stack).tokens
    with torch.no_grad():
        right = stack.logits(stack.run(tokens))[1, : len(PROTEINS[1])]
        wrong = stack.module(input_ids=tokens.ids).logits[1, : len(PROTEINS[1])]
    assert (right - wrong).abs().max() > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_leaves_no_hooks_behind_even_after_an_error(family: str) -> None:
    stack = stack_of(family)
    before = {name: value.clone() for name, value in stack.module.state_dict().items()}

    class Failing(Recorder):
        def observe(self, view: LayerView) -> None:
            if view.layer == 3:
                raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        stack.run(example_for(stack).tokens, [Failing()])
    assert hooks_of(stack) == 0
    assert all(torch.equal(before[name], value) for name, value in stack.module.state_dict().items())


@pytest.mark.parametrize(("poison", "value"), [("nan", torch.nan), ("inf", torch.inf)])
def test_a_state_that_is_not_finite_stops_the_run_and_names_the_layer(poison: str, value: float) -> None:
    stack = stack_of("esm2")
    with torch.no_grad():
        stack.anatomy.mlp_outputs[3].bias[0] = value
    with pytest.raises(NonFiniteStateError, match="after layer 4 holds NaN or infinity"):
        stack.run(example_for(stack).tokens)


def test_a_stack_is_frozen_and_in_evaluation_mode() -> None:
    stack = stack_of("progen2")
    assert not stack.module.training
    assert not any(parameter.requires_grad for parameter in stack.module.parameters())


def test_contributions_are_captured_only_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    stack, hooked = stack_of("esm2"), []
    linear = type(stack.anatomy.mlp_outputs[0])
    original: Callable[..., object] = linear.register_forward_hook
    monkeypatch.setattr(linear, "register_forward_hook", lambda s, *a, **k: hooked.append(s) or original(s, *a, **k))

    class StatesOnly(Recorder):
        needs: frozenset[Need] = frozenset({"states"})

    recorder = StatesOnly()
    stack.run(example_for(stack).tokens, [recorder])
    assert hooked == []
    assert {view.attention for view in recorder.views} == {None}
