"""What holds for every family whose layers end in a norm, and that no other family has such layers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from plmdepth.controls.dead_layers import DeadLayers
from plmdepth.errors import InputError
from plmdepth.interventions.descent import Descent, clean_descent
from plmdepth.interventions.skipping import silenced, skipped
from plmdepth.language_models.families import albert, xlnet
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack
from plmdepth.proteins.protein import CANONICAL
from tests.language_models.families.vocabularies import write_pieces
from tests.recorder import watched
from tests.stacks import ALL, case_of, example_for, stack_of

FAMILIES = sorted(name for name in ALL if case_of(name).norms)
each_family = pytest.mark.parametrize("family", FAMILIES)
CLOSE = {"rtol": 0, "atol": 1e-5}


def norms_of(family: str, stack: LayerStack, layer: int) -> tuple[Any, Any]:
    """Return the norm after attention and the norm after the MLP, where the family's own tests say that they are."""
    norms = case_of(family).norms
    assert norms is not None
    return norms(stack.anatomy.layers[layer - 1])


def one(stack: LayerStack) -> Descent:
    with torch.no_grad():
        return clean_descent(stack, example_for(stack).sequence(0).tokens)


def everywhere(descent: Descent) -> Tensor:
    return torch.ones(descent.states[0].shape[1], dtype=torch.bool)


@pytest.mark.parametrize("family", sorted(ALL))
def test_a_family_is_post_norm_where_its_own_tests_say_so(family: str) -> None:
    assert (stack_of(family).anatomy.wiring == "post_norm") == (case_of(family).norms is not None)


@each_family
def test_contributions_are_those_before_the_norms(family: str) -> None:
    stack = stack_of(family)
    for view in watched(stack).views:
        first, second = norms_of(family, stack, view.layer)
        with torch.no_grad():
            between = first(view.entering + view.attention)
            torch.testing.assert_close(view.mlp_input, between, **CLOSE)
            torch.testing.assert_close(second(between + view.mlp), view.state, **CLOSE)


@each_family
def test_the_mlp_reads_the_normed_sum(family: str) -> None:
    stack = stack_of(family)
    read: list[Tensor] = []
    for module in dict.fromkeys(norms_of(family, stack, layer)[0] for layer in range(1, stack.n_layers + 1)):
        module.register_forward_hook(lambda _m, _i, output: read.append(output.clone()))
    views = watched(stack).views
    for view, stream in zip(views, read[: len(views)], strict=True):
        with torch.no_grad():
            torch.testing.assert_close(view.mlp_input, stream, **CLOSE)


@each_family
@torch.no_grad()
def test_zeroing_attention_and_mlp_leaves_two_norms_and_not_the_state(family: str) -> None:
    stack = stack_of(family)
    descent = one(stack)
    tokens, entering = everywhere(descent), descent.states[2]
    with silenced(stack, 3, "attention", tokens), silenced(stack, 3, "mlp", tokens):
        found = stack.apply_layer(3, entering, descent.call)
    first, second = norms_of(family, stack, 3)
    torch.testing.assert_close(found, second(first(entering)), **CLOSE)
    assert (found - entering).abs().max() > 0.05


@each_family
@torch.no_grad()
def test_skipping_a_layer_passes_the_state_unchanged(family: str) -> None:
    stack = stack_of(family)
    descent = one(stack)
    assert torch.equal(skipped(stack, descent, 3, "layer", everywhere(descent)), descent.states[2])


@each_family
@pytest.mark.parametrize("component", ["attention", "mlp"])
@torch.no_grad()
def test_what_is_silenced_at_some_tokens_changes_them_alone_within_the_layer(family: str, component: Any) -> None:
    stack = stack_of(family)
    descent = one(stack)
    tokens = torch.arange(descent.states[0].shape[1]) % 3 == 1
    found = skipped(stack, descent, 3, component, tokens)
    changed = (found - descent.states[3])[0].abs().amax(-1)
    assert (changed[tokens] > 1e-3).all()
    assert (changed[~tokens] == 0).all()


@each_family
def test_no_layer_can_be_dead(family: str) -> None:
    stack = stack_of(family)
    before = {name: value.clone() for name, value in stack.module.state_dict().items()}
    with pytest.raises(InputError, match="no layer can be dead"):
        DeadLayers().stack(stack)
    assert all(torch.equal(before[name], value) for name, value in stack.module.state_dict().items())


@each_family
def test_with_its_layers_on_disk_a_model_gives_the_same_numbers(family: str, tmp_path: Path) -> None:
    stack = stack_of(family)
    stack.module.save_pretrained(tmp_path)
    special = {"prot_albert": albert.SPECIAL, "prot_xlnet": xlnet.SPECIAL}.get(family, {})
    write_pieces(tmp_path, special, CANONICAL)
    read = load_stack(replace(ALL[family], weights=str(tmp_path), placement="disk"), seed=0)
    assert {p.device.type for layer in read.anatomy.layers for p in layer.parameters()} == {"meta"}
    tokens = example_for(stack).tokens
    with torch.no_grad():
        assert torch.equal(read.logits(read.run(tokens)), stack.logits(stack.run(tokens)))
