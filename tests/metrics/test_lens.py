"""Reading through a tuned lens: identities, a lens that is known, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.lens import PlainLens, TunedLens
from plmdepth.metrics.logit_lens import QUANTITIES, LogitLens
from plmdepth.metrics.metric import Suite
from plmdepth.metrics.residual import Residual
from plmdepth.metrics.translators import Translators, describe, read_lens, readout_digest
from plmdepth.tuned_lens.recipe import write_lens
from tests.recorder import watched
from tests.stacks import EVERYWHERE, example_for, stack_of

FAMILIES = sorted(EVERYWHERE)
NAMES = [quantity.name for quantity in QUANTITIES]


def zeros(stack: LayerStack) -> Translators:
    width = stack.anatomy.attention_outputs[0].out_features
    return Translators(torch.zeros(stack.n_layers, width, width), torch.zeros(stack.n_layers, width))


def noise(stack: LayerStack, seed: int = 0) -> Translators:
    generator = torch.Generator().manual_seed(seed)
    return Translators(
        *(0.1 * torch.randn(x.shape, generator=generator) for x in (zeros(stack).weight, zeros(stack).bias))
    )


def written(folder: Path, stack: LayerStack, translators: Translators, model: str = "this") -> TunedLens:
    write_lens(folder, translators, describe(stack, model))
    return TunedLens(str(folder))


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_translators_of_zero_are_the_logit_lens_bit_for_bit(family: str, tmp_path: Path) -> None:
    stack = stack_of(family)
    lens = written(tmp_path / "lens", stack, zeros(stack))
    example = example_for(stack)
    tuned = LogitLens(lens=lens).measure(stack, example).curves
    assert torch.equal(tuned, LogitLens().measure(stack, example).curves)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_state_but_the_last_is_translated_before_it_is_read(family: str, tmp_path: Path) -> None:
    stack, layers = stack_of(family), range(EVERYWHERE[family].n_layers + 1)
    translators = noise(stack)
    lens = written(tmp_path / "lens", stack, translators)
    for layer, state in zip(layers, watched(stack).states, strict=True):
        expected = torch.empty_like(state)
        for index in range(len(state)):
            for token in range(state.shape[1]):
                h = state[index, token]
                moved = layer < stack.n_layers
                expected[index, token] = (
                    h + torch.mv(translators.weight[layer], h) + translators.bias[layer] if moved else h
                )
        with torch.no_grad():
            torch.testing.assert_close(lens.logits(stack, layer, state), stack.logits(expected), rtol=1e-4, atol=1e-4)


def test_the_metric_reads_through_its_lens_alone_and_in_a_suite(tmp_path: Path) -> None:
    stack = stack_of("esm2")
    metric = LogitLens(lens=written(tmp_path / "lens", stack, noise(stack)))
    example = example_for(stack)
    alone = metric.measure(stack, example).curves
    plain = LogitLens().measure(stack, example).curves
    assert ((alone - plain)[:, NAMES.index("entropy"), :-1].abs() > 1e-4).all()
    assert torch.equal(alone[..., -1], plain[..., -1])
    suite = Suite({"logit_lens": metric, "residual": Residual()}).measure(stack, example).curves
    assert torch.equal(suite[:, : len(QUANTITIES)], alone)


def test_translation_keeps_the_precision_of_the_state() -> None:
    stack = stack_of("esm2")
    state = torch.randn(3, 32).bfloat16()
    assert noise(stack).translated(2, state).dtype == torch.bfloat16
    assert torch.equal(zeros(stack).translated(2, state), state)


def test_a_lens_survives_its_files(tmp_path: Path) -> None:
    stack = stack_of("esm2")
    translators = noise(stack)
    write_lens(tmp_path / "lens", translators, describe(stack, "a model"))
    assert {path.name for path in (tmp_path / "lens").iterdir()} == {"translators.safetensors", "lens.json"}
    again, description = read_lens(tmp_path / "lens")
    assert torch.equal(again.weight, translators.weight)
    assert torch.equal(again.bias, translators.bias)
    assert description == describe(stack, "a model")
    assert json.loads((tmp_path / "lens" / "lens.json").read_text()) == {
        "n_layers": 6,
        "width": 32,
        "model": "a model",
        "readout_sha256": readout_digest(stack),
    }


def test_the_digest_is_that_of_the_translators_and_not_of_their_place(tmp_path: Path) -> None:
    stack = stack_of("esm2")
    first, same, other = (
        written(tmp_path / name, stack, noise(stack, seed), model=name)
        for name, seed in (("first", 0), ("same", 0), ("other", 1))
    )
    assert first.digest == same.digest != other.digest
    assert PlainLens().digest is None


def test_the_digest_of_the_readout_sees_every_weight_of_norm_and_head_and_no_other() -> None:
    for family in FAMILIES:
        stack = stack_of(family)
        before = readout_digest(stack)
        with torch.no_grad():
            stack.anatomy.mlp_outputs[0].weight += 1
        assert readout_digest(stack) == before
        parts = (stack.anatomy.norm, stack.anatomy.head)
        for tensor in [tensor for part in parts for tensor in part.state_dict().values()]:  # type: ignore[attr-defined]
            first = tensor.flatten()[:1]
            value = first.clone()
            first += 1
            assert readout_digest(stack) != before
            first.copy_(value)
        assert readout_digest(stack) == before
    assert readout_digest(stack_of("esm2")) != readout_digest(stack_of("progen2"))


def test_a_head_that_is_a_plain_function_is_refused() -> None:
    stack = stack_of("esm2")
    bare = replace(stack, anatomy=replace(stack.anatomy, head=stack.anatomy.head.__call__))
    assert "use lens=logit" in refusal(lambda: readout_digest(bare))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "whose final norm and head are not this model's"),
        ({"n_layers": 4}, "of 6 layers and width 32, not 4 and 32"),
        ({"width": 16}, "of 6 layers and width 32, not 6 and 16"),
    ],
)
def test_a_foreign_lens_is_refused_before_anything_is_read(
    changes: dict[str, object], reason: str, tmp_path: Path
) -> None:
    lens = written(tmp_path / "lens", stack_of("esm2"), zeros(stack_of("esm2")), model="esm2_8m")
    foreign = stack_of("esm2", **changes)
    with torch.no_grad():
        foreign.module.lm_head.bias[5] += 1e-3
    message = refusal(lambda: LogitLens(lens=lens).measure(foreign, example_for(foreign)))
    assert message == (
        f"lens.path={tmp_path / 'lens'} was fitted to a esm2_8m {reason}; fit a lens to this model with train.py "
        "probe=tuned_lens and the same model options, or use lens=logit"
    )


def test_a_model_that_was_accepted_does_not_let_another_in(tmp_path: Path) -> None:
    own, foreign = stack_of("esm2"), stack_of("esm2", n_layers=4)
    lens = written(tmp_path / "lens", own, zeros(own))
    LogitLens(lens=lens).measure(own, example_for(own))
    assert "of 6 layers" in refusal(lambda: LogitLens(lens=lens).measure(foreign, example_for(foreign)))


def test_a_missing_lens_is_asked_for(tmp_path: Path) -> None:
    give = "give the lens folder in a record of train.py probe=tuned_lens"
    assert refusal(lambda: TunedLens(str(tmp_path / "no")).digest) == f"lens.path={tmp_path}/no: no such folder; {give}"
    assert (
        refusal(lambda: TunedLens(str(tmp_path)).digest) == f"lens.path={tmp_path}: there is no lens.json in it; {give}"
    )
    (tmp_path / "lens.json").write_text("{}")
    assert "there is no translators.safetensors in it" in refusal(lambda: TunedLens(str(tmp_path)).digest)


def spoil_text(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "lens.json").write_text(text)


def spoil_tensors(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        path = folder / "translators.safetensors"
        save_file(change(load_file(path)), path)

    return spoil


def cut(folder: Path) -> None:
    path = folder / "translators.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (spoil_text("{"), "lens.json"),
        (spoil_text("[]"), "lens.json"),
        (spoil_text('{"n_layers": 6, "width": 32, "model": "esm2"}'), "lens.json"),
        (spoil_text('{"n_layers": "six", "width": 32, "model": "esm2", "readout_sha256": ""}'), "lens.json"),
        (cut, "translators.safetensors"),
        (spoil_tensors(lambda all_: {"weight": all_["weight"]}), "translators.safetensors"),
        (spoil_tensors(lambda all_: all_ | {"bias": all_["bias"][:5].clone()}), "translators.safetensors"),
        (spoil_tensors(lambda all_: all_ | {"bias": all_["bias"] / 0}), "translators.safetensors"),
        (spoil_tensors(lambda all_: all_ | {"bias": all_["bias"].half()}), "translators.safetensors"),
    ],
)
def test_a_damaged_lens_is_refused_with_the_name_of_the_file(
    spoil: Callable[[Path], object], name: str, tmp_path: Path
) -> None:
    stack = stack_of("esm2")
    lens = written(tmp_path / "lens", stack, zeros(stack))
    spoil(tmp_path / "lens")
    message = refusal(lambda: lens.digest)
    assert message.startswith(f"lens.path: {tmp_path / 'lens' / name} is damaged; fit the lens again")
