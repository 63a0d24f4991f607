"""Attention scores against what the models compute and return themselves, in every family, on padded batches."""

import gc
import weakref
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from plmdepth.language_models.attention_scores import (
    AttentionScores,
    AttentionScoresRecorder,
    attention_scores,
    fused_logits,
)
from plmdepth.language_models.layer_stack import LayerStack, LayerView, Need
from plmdepth.language_models.modules.esm3 import layers as esm3_layers
from plmdepth.language_models.modules.esm3.module import ESM3Module
from plmdepth.language_models.modules.xlnet import OneStreamXLNet
from tests.language_models.attention_spies import handed_to_softmax, spy_on_interface
from tests.language_models.families.test_xlnet import published, whole
from tests.recorder import Recorder, hooks_of, watched
from tests.stacks import ALL, PROTEINS, case_of, example_for, own_forward, stack_of

FAMILIES = sorted(ALL)
FUSED = [family for family in FAMILIES if ALL[family].architecture._supports_sdpa]
EITHER = [(family, "eager") for family in FAMILIES] + [(family, "sdpa") for family in FUSED]
RETURNING = [family for family in FAMILIES if not issubclass(ALL[family].architecture, ESM3Module | OneStreamXLNet)]
"""Families whose modules return attention when asked; ours do not."""
LEAST = torch.finfo(torch.float16).min / 2
CLOSE = {"rtol": 0, "atol": 1e-6}


class ScoresRecorder(Recorder):
    """Keeps everything, the scores of all layers too."""

    needs: frozenset[Need] = frozenset({"attention_scores", "contributions"})

    @property
    def scores(self) -> list[AttentionScores]:
        found = [view.attention_scores for view in self.views]
        assert all(found)
        return [each for each in found if each]


def recorded(stack: LayerStack) -> ScoresRecorder:
    recorder = ScoresRecorder()
    with torch.no_grad():
        stack.run(example_for(stack).tokens, [recorder])
    assert len(recorder.scores) == stack.n_layers
    return recorder


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_that_enter_the_models_softmax(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of(family)
    ours = recorded(stack).scores
    theirs = handed_to_softmax(stack, monkeypatch)
    for mine, logits in zip(ours, theirs, strict=True):
        hidden = logits <= LEAST
        assert hidden.any()
        assert torch.equal(mine.logits.isneginf(), hidden.expand_as(mine.logits))
        torch.testing.assert_close(mine.logits.masked_fill(hidden, 0), logits.masked_fill(hidden, 0), **CLOSE)
        torch.testing.assert_close(mine.probabilities, logits.softmax(-1), **CLOSE)


@pytest.mark.parametrize("family", RETURNING)
def test_probabilities_are_the_attentions_that_the_model_returns(family: str) -> None:
    stack = stack_of(family)
    returned = own_forward(stack, example_for(stack).tokens, output_attentions=True)
    theirs = returned["decoder_attentions" if "decoder_attentions" in returned else "attentions"]
    assert len(theirs) == stack.n_layers
    for mine, attentions in zip(recorded(stack).scores, theirs, strict=True):
        torch.testing.assert_close(mine.probabilities, attentions, **CLOSE)


@pytest.mark.parametrize("family", [family for family in FAMILIES if ALL[family].architecture is ESM3Module])
def test_probabilities_are_the_weights_of_esm3s_own_attention(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stack, weights = stack_of(family), []
    attend = esm3_layers.eager_attention

    def spy(*args: Any, **kwargs: Any) -> Any:
        mixed, weight = attend(*args, **kwargs)
        weights.append(weight)
        return mixed, weight

    monkeypatch.setattr(esm3_layers, "eager_attention", spy)
    own_forward(stack, example_for(stack).tokens)
    for mine, theirs in zip(recorded(stack).scores, weights[: stack.n_layers], strict=True):
        torch.testing.assert_close(mine.probabilities, theirs, **CLOSE)


@torch.no_grad()
def test_a_hidden_token_of_xlnet_has_the_attention_of_the_query_stream_and_is_seen_by_none() -> None:
    stack = stack_of("prot_xlnet")
    example = example_for(stack)
    tokens = example.tokens
    streams = published(stack)(
        input_ids=example.labels,
        attention_mask=tokens.attended.float(),
        token_type_ids=stack.anatomy.inputs(whole(example))["segments"],
        perm_mask=example.scored[:, None].expand(-1, tokens.ids.shape[1], -1).float(),
        target_mapping=torch.eye(tokens.ids.shape[1]).expand(len(tokens.ids), -1, -1),
        use_mems=False,
        output_attentions=True,
    ).attentions
    for mine, (content, query) in zip(recorded(stack).scores, streams, strict=True):
        rows = mine.probabilities.transpose(1, 2)  # [batch, query, head, key]
        shown = tokens.attended & ~example.scored
        torch.testing.assert_close(rows[shown], content.transpose(1, 2)[shown], rtol=0, atol=1e-5)
        torch.testing.assert_close(rows[example.scored], query.transpose(1, 2)[example.scored], rtol=0, atol=1e-5)
        assert (rows - content.transpose(1, 2))[example.scored].abs().max() > 0.01
        assert rows.transpose(1, 3)[example.scored].max() == 0.0


@pytest.mark.parametrize(("family", "attention"), EITHER)
def test_probabilities_mix_the_values_into_what_attention_adds(family: str, attention: str) -> None:
    stack, made_by = stack_of(family, attention=attention), case_of(family).values
    values: list[Tensor] = []
    mixed: list[Tensor] = []
    for layer, output in dict(zip(stack.anatomy.layers, stack.anatomy.attention_outputs, strict=True)).items():
        for name, module in layer.named_modules():
            if made_by is not None and name.endswith(made_by[0]):
                module.register_forward_hook(lambda _m, _i, out, n=made_by[1]: values.append(out.chunk(n, -1)[-1]))
        output.register_forward_hook(lambda _m, args, out: mixed.append(out if made_by is None else args[0]))
    views = recorded(stack).views
    if made_by is None:
        pairs = zip(views, outs(stack), strict=True)
        values = [torch.einsum("bih,hnd->bind", v.entering, m.v).flatten(2) for v, m in pairs]
    for view, value, added in zip(views, values, mixed, strict=True):
        assert view.attention_scores is not None
        heads = value.unflatten(-1, (view.attention_scores.probabilities.shape[1], -1)).transpose(1, 2)
        ours = view.attention_scores.probabilities @ heads
        if made_by is None:
            ours = torch.einsum("bnid,hnd->bih", ours, outs(stack)[view.layer - 1].o)
        else:
            ours = ours.transpose(1, 2).flatten(2)
        torch.testing.assert_close(ours, added, rtol=0, atol=1e-5)


def outs(stack: LayerStack) -> list[Any]:
    return list(stack.anatomy.attention_outputs)


@pytest.mark.parametrize(("family", "attention"), EITHER)
def test_probabilities_are_the_softmax_of_logits_and_padding_gets_none(family: str, attention: str) -> None:
    stack = stack_of(family, attention=attention)
    attended = example_for(stack).tokens.attended
    n_tokens = attended.shape[1]
    assert not attended.all()
    for scores in recorded(stack).scores:
        assert scores.logits.shape == scores.probabilities.shape == (len(PROTEINS), 4, n_tokens, n_tokens)
        assert scores.logits.dtype == scores.probabilities.dtype == torch.float32
        rows = scores.probabilities.transpose(1, 2)[attended]  # [attended query, head, key]
        padding = ~attended.repeat_interleave(attended.sum(1), dim=0)[:, None].expand_as(rows)
        assert rows[padding].max() == 0.0
        torch.testing.assert_close(rows.sum(-1), torch.ones(rows.shape[:-1]), **CLOSE)
        torch.testing.assert_close(rows, scores.logits.softmax(-1).transpose(1, 2)[attended], **CLOSE)
        assert scores.logits.transpose(1, 2)[attended][padding].isneginf().all()


@pytest.mark.parametrize(("family", "attention"), EITHER)
@pytest.mark.parametrize("n_proteins", [1, 3])  # of one protein nothing is padding: fused attention gets no mask then
def test_tokens_attend_to_what_lies_ahead_in_bidirectional_models_alone(
    family: str, attention: str, n_proteins: int
) -> None:
    stack, recorder = stack_of(family, attention=attention), ScoresRecorder()
    tokens = example_for(stack, PROTEINS[:n_proteins]).tokens
    with torch.no_grad():
        stack.run(tokens, [recorder])
    ahead = torch.ones(2 * tokens.ids.shape[1:], dtype=torch.bool).triu(1)
    for scores in recorder.scores:
        if stack.anatomy.causal:
            assert scores.probabilities[..., ahead].max() == 0.0
            assert scores.logits[..., ahead].isneginf().all()
            assert scores.logits[0, :, ~ahead].isfinite().all()
        else:
            assert scores.probabilities[..., ahead].max() > 0.01


@pytest.mark.parametrize("family", ["esm2", "protgpt2", "prot_t5_encoder"])
def test_the_check_of_padding_notices_a_mask_that_is_missing(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # An implementation of attention that is registered without a mask function is called without a mask, in silence.
    stack = stack_of(family)
    attended = example_for(stack).tokens.attended
    spy_on_interface(stack, monkeypatch, [], masked=False)
    scores = recorded(stack).scores[0]
    assert scores.logits.isfinite().all()
    assert scores.probabilities.transpose(1, 3)[~attended].max() > 0.01
    ahead = torch.ones(2 * attended.shape[1:], dtype=torch.bool).triu(1)
    assert scores.probabilities[..., ahead].max() > 0.01


@pytest.mark.parametrize("family", FUSED)
def test_fused_attention_has_the_scores_of_the_eager_one(family: str) -> None:
    eager, fused = (recorded(stack_of(family, attention=attention)).scores for attention in ("eager", "sdpa"))
    for mine, theirs in zip(fused, eager, strict=True):
        assert torch.equal(mine.logits.isneginf(), theirs.logits.isneginf())
        torch.testing.assert_close(mine.logits, theirs.logits, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(mine.probabilities, theirs.probabilities, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", sorted({*FUSED} & {*RETURNING}))
def test_fused_attention_has_scores_where_the_model_returns_none(family: str) -> None:
    stack = stack_of(family, attention="sdpa")
    returned = own_forward(stack, example_for(stack).tokens, output_attentions=True)
    assert not returned.get("decoder_attentions", returned.get("attentions"))  # an empty tuple, in silence
    assert len(recorded(stack).scores) == stack.n_layers


@pytest.mark.parametrize(("family", "attention"), EITHER)
def test_states_are_bit_by_bit_those_of_a_run_without_scores(family: str, attention: str) -> None:
    stack = stack_of(family, attention=attention)
    for mine, theirs in zip(recorded(stack).states, watched(stack).states, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_resuming_gives_the_same_scores(family: str) -> None:
    stack, again = stack_of(family), ScoresRecorder()
    scores, states = recorded(stack).scores, recorded(stack).states
    with torch.no_grad():
        _, call = stack.embed(example_for(stack).tokens)
        stack.resume(3, states[2], call, [again])
    for mine, theirs in zip(again.scores, scores[2:], strict=True):
        assert torch.equal(mine.logits, theirs.logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_has_scores_of_its_own_also_where_layers_share_weights(family: str) -> None:
    scores = recorded(stack_of(family)).scores
    for earlier, later in pairwise(scores):
        assert (earlier.probabilities - later.probabilities).abs().max() > 0.01


def watches() -> int:
    return torch._C._len_torch_function_stack()


@pytest.mark.parametrize(("family", "attention"), EITHER)
@pytest.mark.parametrize("place", ["layer", "observer"])
def test_no_trace_is_left_even_after_an_error(family: str, attention: str, place: str) -> None:
    stack = stack_of(family, attention=attention)
    before = {name: value.clone() for name, value in stack.module.state_dict().items()}
    calls: list[int] = []

    class Failing(ScoresRecorder):
        def observe(self, view: LayerView) -> None:
            if place == "observer" and view.layer == 3:
                raise RuntimeError("in the middle")

    def fail(_module: nn.Module, _args: object, _output: object) -> None:
        calls.append(watches())
        if len(calls) == 3 and place == "layer":
            raise RuntimeError("in the middle")

    handles = [output.register_forward_hook(fail) for output in dict.fromkeys(stack.anatomy.attention_outputs)]
    with pytest.raises(RuntimeError, match="in the middle"):
        stack.run(example_for(stack).tokens, [Failing()])
    for handle in handles:
        handle.remove()
    assert set(calls) == {1}
    assert watches() == hooks_of(stack) == 0
    configs = [module.config for module in stack.module.modules() if hasattr(module, "config")]
    assert {config._attn_implementation for config in configs} == {attention}
    assert all(torch.equal(before[name], value) for name, value in stack.module.state_dict().items())


def test_scores_are_taken_on_demand_alone() -> None:
    stack, during = stack_of("esm2"), []
    stack.anatomy.attention_outputs[0].register_forward_hook(lambda *_: during.append(watches()))
    assert {view.attention_scores for view in watched(stack).views} == {None}
    assert all(view.attention_scores for view in recorded(stack).views)
    assert during == [0, 1]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_scores_of_a_layer_are_given_back_before_the_next_has_run(family: str) -> None:
    stack = stack_of(family)
    alive: list[weakref.ref[Tensor]] = []

    class Forgetful(ScoresRecorder):
        def observe(self, view: LayerView) -> None:
            assert not any(reference() is not None for reference in alive)
            assert view.attention_scores is not None
            alive.extend(map(weakref.ref, (view.attention_scores.logits, view.attention_scores.probabilities)))

    gc.disable()  # nothing may wait for the collector
    try:
        with torch.no_grad():
            stack.run(example_for(stack).tokens, [Forgetful()])
    finally:
        gc.enable()
    assert len(alive) == 2 * stack.n_layers


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_scores_are_whole_where_the_model_computes_in_half_precision(attention: str) -> None:
    half, whole_precision = (
        recorded(stack_of("esm2", attention=attention, dtype=dtype)).scores[0] for dtype in ("bfloat16", "float32")
    )
    assert half.logits.dtype == half.probabilities.dtype == torch.float32
    torch.testing.assert_close(half.probabilities.sum(-1), torch.ones_like(half.probabilities[..., 0]), **CLOSE)
    assert torch.equal(half.logits.isneginf(), whole_precision.logits.isneginf())
    torch.testing.assert_close(half.probabilities, whole_precision.probabilities, rtol=0, atol=0.05)


def test_no_gradient_flows_through_scores_and_the_states_keep_theirs() -> None:
    stack, recorder = stack_of("esm2"), ScoresRecorder()
    state, call = stack.embed(example_for(stack).tokens)
    state = state.detach().requires_grad_()
    stack.resume(1, state, call, [recorder]).sum().backward()
    assert state.grad is not None
    assert state.grad.abs().max() > 0
    assert not any(each.logits.requires_grad or each.probabilities.requires_grad for each in recorder.scores)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("added", ["least", "infinity"])
def test_masked_keys_have_minus_infinity_whatever_the_model_adds(dtype: torch.dtype, added: str) -> None:
    mask = torch.finfo(dtype).min if added == "least" else -torch.inf
    logits = torch.tensor([[[[1.0, 2.0, 20 + mask], [-3000.0, -3001.0, mask], [mask] * 3]]], dtype=dtype)
    before = logits.clone()
    scores = attention_scores(logits)
    assert scores.logits.isneginf().tolist() == [[[[False, False, True]] * 2 + [[True] * 3]]]
    assert scores.probabilities[0, 0, :2].sum(-1).tolist() == pytest.approx([1.0, 1.0])
    assert scores.probabilities[0, 0, :, 2].tolist() == scores.probabilities[0, 0, 2].tolist() == [0.0] * 3
    assert torch.equal(logits, before)


@pytest.mark.parametrize("mask", ["none", "causal", "bool", "float"])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_logits_of_fused_attention_give_what_it_gives(mask: str, scale: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 5, 4, generator=generator) for _ in range(3))
    bias = torch.randn(2, 1, 5, 5, generator=generator)
    given = {"bool": bias > -0.5, "float": bias}.get(mask)
    expected = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=given, is_causal=mask == "causal", scale=scale
    )
    logits = fused_logits(query, key, value, given, is_causal=mask == "causal", scale=scale)
    torch.testing.assert_close(logits.softmax(-1) @ value, expected, **CLOSE)


@pytest.mark.parametrize(
    "softmax",
    [
        lambda z: functional.softmax(z, dim=-1),
        lambda z: torch.softmax(z, -1),
        lambda z: z.softmax(-1),
        lambda z: functional.softmax(input=z, dim=-1),
        nn.Softmax(dim=-1),
    ],
)
def test_the_first_softmax_over_keys_is_recorded_however_it_is_called(softmax: Callable[[Tensor], Tensor]) -> None:
    recorder, logits = AttentionScoresRecorder(), torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    with recorder.recording():
        softmax(logits[0, 0])  # two dimensions: no attention
        softmax(logits)
        softmax(logits + torch.eye(3))
    assert torch.equal(recorder.take().logits, logits)
    with pytest.raises(RuntimeError, match="attention is computed in an unknown way"):
        recorder.take()
