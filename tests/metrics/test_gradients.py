"""Gradients against the model's own forward pass with hooks, finite differences, identities and planted depth."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from plmdepth.controls.dead_layers import DeadLayers
from plmdepth.language_models.layer_stack import LayerStack, NonFiniteStateError
from plmdepth.metrics.gradients import QUANTITIES, Gradients, gradient_statistics, summed_loss_gradients
from plmdepth.objectives.objective import Example
from plmdepth.proteins.protein import Protein
from tests.calls import hooked_state, own_logits
from tests.recorder import hooks_of
from tests.stacks import EVERYWHERE, PROTEINS, example_for, stack_of

FAMILIES = sorted(EVERYWHERE)
POST_NORM = ["prot_albert", "prot_xlnet"]
NAMES = [quantity.name for quantity in QUANTITIES]
NORM, RELATIVE, TIMES = (NAMES.index(n) for n in ("gradient_norm", "relative_gradient", "gradient_times_norm"))


def own_forward(stack: LayerStack, example: Example, layer: int, change: Any) -> tuple[Tensor, Tensor]:
    """Run the model itself on one sequence; return ``h_l`` after ``change(h_l)`` and the loss."""
    kept: list[Tensor] = []

    def enter(_m: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        kept.append(change(args[0]))
        return (kept[0], *args[1:])

    with hooked_state(stack, layer, enter):
        logits = own_logits(stack, example.tokens)[0]
    choices = stack.spelling.amino_acids.tolist()
    targets = [choices.index(int(label)) for label in example.labels[0][example.scored[0]]]
    kept_logits = logits[example.scored[0]][:, choices].double()
    return kept[0], torch.nn.functional.cross_entropy(kept_logits, torch.tensor(targets))


def naive(stack: LayerStack, example: Example, layer: int) -> list[float]:
    """One forward and one backward pass of the model itself, then one residue at a time."""
    state, loss = own_forward(stack, example, layer, lambda h: h.detach().clone().requires_grad_())
    loss.backward()
    points = []
    for position in example.tokens.residues[0].nonzero()[:, 0].tolist():
        g, h = (x[0, position].double().norm().item() for x in (state.grad, state.detach()))
        points.append((g, g / h if h > 0 else math.nan, g * h))
    columns = [[value for value in column if not math.isnan(value)] for column in zip(*points, strict=True)]
    return [sum(column) / len(column) for column in columns]


@pytest.mark.parametrize("family", [*FAMILIES, *POST_NORM])
def test_a_padded_batch_equals_one_run_for_every_sequence_and_layer(family: str) -> None:
    stack = stack_of(family)
    curves = Gradients().measure(stack, example_for(stack)).curves
    for row in range(len(PROTEINS)):
        example = example_for(stack).sequence(row)
        for layer in range(stack.n_layers + 1):
            expected = torch.tensor(naive(stack, example, layer), dtype=torch.float64)
            torch.testing.assert_close(curves[row, :, layer], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", [*FAMILIES, *POST_NORM])
def test_the_gradient_is_the_slope_of_the_loss(family: str) -> None:
    stack = stack_of(family)
    stack.module.double()
    example = example_for(stack).sequence(0)
    _, gradients = summed_loss_gradients(stack, example)
    n_targets = int(example.scored.sum())
    for layer in (0, 3, stack.n_layers):
        direction = torch.randn(gradients[layer].shape, generator=torch.Generator().manual_seed(3)).double()
        step = 1e-5 * direction
        with torch.no_grad():
            _, above = own_forward(stack, example, layer, lambda h, d=step: h + d)
            _, below = own_forward(stack, example, layer, lambda h, d=step: h - d)
        slope = (gradients[layer] * direction).sum() / n_targets
        torch.testing.assert_close((above - below) / 2e-5, slope, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_nothing(family: str) -> None:
    stack = stack_of(family)
    together = Gradients().measure(stack, example_for(stack)).curves
    for row in range(len(PROTEINS)):
        alone = Gradients().measure(stack, example_for(stack).sequence(row)).curves[0]
        torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_at_the_last_layer_only_scored_rows_have_a_gradient(family: str) -> None:
    stack = stack_of(family)
    example = example_for(stack)
    _, gradients = summed_loss_gradients(stack, example)
    assert (gradients[-1][~example.scored] == 0).all()
    assert (gradients[-1][example.scored].norm(dim=-1) > 0).all()


def test_in_a_causal_model_what_follows_the_last_target_has_no_gradient() -> None:
    stack = stack_of("progen2")
    example = example_for(stack)
    last = example.scored[0].nonzero()[-1, 0]
    for gradient in summed_loss_gradients(stack, example)[1]:
        assert (gradient[0, last + 1 :] == 0).all()
        assert (gradient[0, last] != 0).any()


def test_in_a_bidirectional_model_the_context_has_a_gradient_below_the_last_layer() -> None:
    stack = stack_of("esm2")
    example = example_for(stack)
    _, gradients = summed_loss_gradients(stack, example)
    for gradient in gradients[:-1]:
        assert (gradient[example.context].norm(dim=-1) > 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_dead_layer_leaves_the_gradient_of_the_layer_below(family: str) -> None:
    stack = DeadLayers(layers=[3, 5]).stack(stack_of(family))
    curves = Gradients().measure(stack, example_for(stack)).curves
    for dead in (3, 5):
        torch.testing.assert_close(curves[..., dead], curves[..., dead - 1], rtol=1e-5, atol=0)
    for alive in (1, 2, 4, 6):
        assert ((curves[:, NORM, alive] / curves[:, NORM, alive - 1]).log().abs() > 1e-3).all()


def test_a_hidden_residue_of_zero_embedding_does_not_enter_the_relative_gradient() -> None:
    stack = stack_of("esm2")
    example = example_for(stack).sequence(0)
    states, gradients = summed_loss_gradients(stack, example)
    hidden, shown = example.scored[0], example.context[0]
    assert (states[0][0, hidden] == 0).all()
    g, h = (x[0][0].double().norm(dim=-1) for x in (gradients, states))
    curves = Gradients().measure(stack, example).curves[0, :, 0]
    n = int(hidden.sum())
    assert curves[RELATIVE].item() == pytest.approx((g / h)[shown].mean().item() / n, rel=1e-5)
    assert curves[NORM].item() == pytest.approx(g[hidden | shown].mean().item() / n, rel=1e-5)


def test_the_three_quantities_of_a_token_by_hand() -> None:
    g, h = torch.tensor([[3.0, 2.0]]).double(), torch.tensor([[0.5, 0.0]]).double()
    expected = torch.tensor([[[3.0, 2.0]], [[6.0, math.nan]], [[1.5, 0.0]]]).double()
    torch.testing.assert_close(gradient_statistics(g, h), expected, equal_nan=True)


def test_a_state_of_half_the_size_that_is_read_alike_has_twice_the_gradient() -> None:
    """The final norm reads directions alone, so at layer L the loss does not change with the size of a state."""
    stack, halved = stack_of("progen2"), stack_of("progen2")
    for part in (stack, halved):
        part.anatomy.norm.eps = 0.0
    halved.anatomy.layers[-1].register_forward_hook(
        lambda _m, _i, out: (out[0] / 2, *out[1:]) if isinstance(out, tuple) else out / 2
    )
    one = Gradients().measure(stack, example_for(stack)).curves[..., -1]
    half = Gradients().measure(halved, example_for(stack)).curves[..., -1]
    torch.testing.assert_close(half[:, NORM], 2 * one[:, NORM], rtol=1e-4, atol=0)
    torch.testing.assert_close(half[:, RELATIVE], 4 * one[:, RELATIVE], rtol=1e-4, atol=0)
    torch.testing.assert_close(half[:, TIMES], one[:, TIMES], rtol=1e-4, atol=0)


def test_a_sequence_without_targets_has_no_value_and_disturbs_no_other() -> None:
    stack = stack_of("esm2")
    example = example_for(stack)
    scored = example.scored.clone()
    scored[1] = False
    curves = Gradients().measure(stack, replace(example, scored=scored)).curves
    assert curves[1].isnan().all()
    expected = Gradients().measure(stack, example).curves
    torch.testing.assert_close(curves[[0, 2]], expected[[0, 2]], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_without_any_target_has_no_value(family: str) -> None:
    stack = stack_of(family)
    example = example_for(stack, (Protein("x", "XXXX"),))
    example = replace(example, scored=torch.zeros_like(example.scored))
    assert Gradients().measure(stack, example).curves.isnan().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_found_where_they_are_switched_off(family: str) -> None:
    stack = stack_of(family)
    with torch.no_grad():
        curves = Gradients().measure(stack, example_for(stack)).curves
    assert torch.equal(curves, Gradients().measure(stack, example_for(stack)).curves)
    assert not curves.requires_grad
    assert (curves > 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_one_forward_and_one_backward_pass_and_no_trace(family: str) -> None:
    stack, calls = stack_of(family), []
    before = {name: value.clone() for name, value in stack.module.state_dict().items()}
    handles = [m.register_forward_hook(lambda *_, n=n: calls.append(n)) for n, m in enumerate(stack.anatomy.layers)]
    handles += [
        m.register_full_backward_hook(lambda *_, n=n: calls.append(-n)) for n, m in enumerate(stack.anatomy.mlp_outputs)
    ]
    Gradients().measure(stack, example_for(stack))
    assert calls == [0, 1, 2, 3, 4, 5, -5, -4, -3, -2, -1, 0]
    for handle in handles:
        handle.remove()
    assert hooks_of(stack) == 0
    assert all(torch.equal(before[name], value) for name, value in stack.module.state_dict().items())
    assert all(parameter.grad is None for parameter in stack.module.parameters())


def test_a_gradient_that_is_not_finite_stops_the_run_and_names_the_layer() -> None:
    stack = stack_of("esm2")
    stack.anatomy.layers[3].register_full_backward_hook(lambda _m, grads, _o: (grads[0] * torch.nan, *grads[1:]))
    with pytest.raises(NonFiniteStateError, match="after layer 0 holds NaN"):
        Gradients().measure(stack, example_for(stack))
