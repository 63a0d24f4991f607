"""Residual quantities against a naive reference in double precision, and planted depth."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from plmdepth.controls.dead_layers import DeadLayers
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.residual import QUANTITIES, Residual, angle_between
from plmdepth.objectives.masked import Masked
from plmdepth.objectives.objective import Example
from tests.recorder import Recorder, watched
from tests.stacks import EVERYWHERE, PROTEINS, example_for, stack_of

FAMILIES = sorted(EVERYWHERE)
Norms = Callable[[Any], tuple[nn.Module, nn.Module]]
KEYS = [(quantity.name, quantity.component) for quantity in QUANTITIES]


def naive_residual(stack: LayerStack, example: Example, norms: Norms | None = None) -> Tensor:
    """One residue at a time; of a post-norm family, ``norms`` are a layer's norm after attention and after the MLP."""
    seen = watched(stack, example)
    result = torch.full((len(example.targets), len(KEYS), stack.n_layers + 1), math.nan, dtype=torch.float64)
    for sequence in range(len(example.targets)):
        rows = example.tokens.residues[sequence].nonzero()[:, 0].tolist()
        for layer in range(stack.n_layers + 1):
            first = norms(stack.anatomy.layers[layer - 1])[0].double() if norms and layer else None
            points = [naive_residue(seen, sequence, row, layer, first) for row in rows]
            for index, key in enumerate(KEYS):
                known = [point[key] for point in points if key in point]
                if known:
                    result[sequence, index, layer] = sum(known) / len(known)
    return result


@torch.no_grad()
def naive_residue(
    seen: Recorder, sequence: int, row: int, layer: int, norm: nn.Module | None = None
) -> dict[tuple[str, str], float]:
    state = seen.states[layer][sequence, row].double()
    point = {("norm", "residual"): state.norm().item()}
    if layer == 0:
        return point
    view, before = seen.views[layer - 1], seen.states[layer - 1][sequence, row].double()
    attention, mlp = (x[sequence, row].double() for x in (view.attention, view.mlp))
    mlp_input = before if view.wiring == "parallel" else before + attention
    mlp_input = mlp_input if norm is None else norm(mlp_input)
    for component, added, stream in (
        ("layer", state - before, before),
        ("attention", attention, before),
        ("mlp", mlp, mlp_input),
    ):
        point["contribution_norm", component] = added.norm().item()
        if stream.norm() > 0:
            point["relative_contribution", component] = (added.norm() / stream.norm()).item()
            point["cosine", component] = torch.nn.functional.cosine_similarity(added, stream, dim=0).item()
    if before.norm() > 0:
        cosine = torch.nn.functional.cosine_similarity(state, before, dim=0).clamp(-1, 1)
        point["state_cosine", "residual"] = cosine.item()
        point["angular_distance", "residual"] = (cosine.arccos() / math.pi).item()
    return point


@pytest.mark.parametrize("family", FAMILIES)
def test_all_quantities_equal_the_naive_reference(family: str) -> None:
    stack = stack_of(family)
    example = example_for(stack)
    values = Residual().measure(stack, example).curves
    torch.testing.assert_close(values, naive_residual(stack, example), rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_dead_layers_contribute_exactly_nothing(family: str) -> None:
    stack = DeadLayers(layers=[4, 5, 6]).stack(stack_of(family))
    values = Residual().measure(stack, example_for(stack)).curves[:, :, 4:]
    for index, (name, _) in enumerate(KEYS):
        if name in {"contribution_norm", "relative_contribution", "angular_distance"}:
            assert (values[:, index] == 0).all(), name
        if name == "cosine":
            assert values[:, index].isnan().all()
        if name == "state_cosine":
            assert (values[:, index] == 1).all()


def test_hidden_residues_have_no_ratio_at_layer_1_because_their_embedding_is_zero() -> None:
    stack = stack_of("esm2")
    hidden = Masked(1.0).present(PROTEINS[:2], stack.spelling, 0)
    values = Residual().measure(stack, hidden).curves
    relative = values[:, KEYS.index(("relative_contribution", "layer"))]
    assert relative[:, 1].isnan().all()
    assert not relative[:, 2].isnan().any()
    assert (values[:, KEYS.index(("norm", "residual")), 0] == 0).all()


@pytest.mark.parametrize("angle", [0.0, 1e-6, 1e-3, 0.5, 1.5, 3.0, math.pi])
@pytest.mark.parametrize("length", [0.3, 1.0, 7.0])
def test_the_angle_of_a_triangle(angle: float, length: float) -> None:
    first = torch.tensor([1.0, 0.0], dtype=torch.float64)
    second = length * torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    measured = angle_between(first.norm(), second.norm(), (first - second).norm())
    assert measured.item() == pytest.approx(angle, abs=1e-7)


def test_equal_vectors_have_an_angle_of_exactly_zero_in_single_precision() -> None:
    norm = torch.rand(1000, generator=torch.Generator().manual_seed(0)) + 0.1
    assert (angle_between(norm, norm, torch.zeros(1000)) == 0).all()


def test_special_tokens_and_padding_never_enter() -> None:
    stack = stack_of("esm2")
    example = example_for(stack)
    before = Residual().measure(stack, example).curves
    original = stack.anatomy.layers[2].forward

    def disturbed(state: Tensor, *args: object, **kwargs: object) -> Tensor:
        output = original(state, *args, **kwargs)
        return torch.where(example.tokens.residues[..., None], output, output * 100)

    stack.anatomy.layers[2].forward = disturbed
    after = Residual().measure(stack, example).curves
    torch.testing.assert_close(after[:, :, :4], before[:, :, :4], equal_nan=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_cosine_of_a_layer_that_ends_in_a_norm_follows_from_the_angle_and_ed_cosine_means_nothing(
    family: str,
) -> None:
    stack = stack_of(family)
    reasons = Residual().meaningless(stack)
    assert set(reasons) == ({"ed_cosine"} if stack.anatomy.wiring == "post_norm" else set())
    if reasons:
        values = Residual().measure(stack, example_for(stack)).curves[:, :, 2:]
        cosine, angle = (values[:, KEYS.index(key)] for key in (("cosine", "layer"), ("angular_distance", "residual")))
        torch.testing.assert_close(cosine, -torch.sin(angle * math.pi / 2), rtol=0.02, atol=1e-3)
