"""Integrated gradients against a fine Riemann sum through the model itself, cases by hand, and planted depth."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from plmdepth.controls.dead_layers import DeadLayers
from plmdepth.errors import InputError
from plmdepth.interventions.descent import clean_descent
from plmdepth.language_models.layer_stack import LayerStack, NonFiniteStateError
from plmdepth.language_models.spelling.spelling import Tokens
from plmdepth.metrics.integrated_gradients import PLACES, QUANTITIES, IntegratedGradients, places_of
from plmdepth.objectives.objective import Example
from plmdepth.proteins.protein import CANONICAL
from tests.calls import hooked_state, own_logits
from tests.recorder import hooks_of
from tests.stacks import EVERYWHERE, PROTEINS, example_for, stack_of

FAMILIES = sorted(EVERYWHERE)
KEYS = [quantity.component or quantity.name for quantity in QUANTITIES]
ERROR, NODES = KEYS.index("completeness_error"), KEYS.index("nodes")
STEPS = 4000


def with_few_targets(example: Example) -> Example:
    """Keep two targets, so that there are neighbours and others in a causal model too."""
    kept = torch.zeros_like(example.scored)
    for row, scored in enumerate(example.scored):
        rows = scored.nonzero()[:, 0]
        kept[row, [rows[1], rows[-1]]] = True
    return replace(example, scored=kept)


def few(stack: LayerStack) -> Example:
    return with_few_targets(example_for(stack))


def prepared(stack: LayerStack, **options: Any) -> IntegratedGradients:
    return IntegratedGradients(**options).prepared(stack, [example_for(stack)])


def curves_of(stack: LayerStack, example: Example | None = None, **options: Any) -> Tensor:
    return prepared(stack, **options).measure(stack, few(stack) if example is None else example).curves


def own_probability(stack: LayerStack, example: Example, layer: int, states: Tensor) -> Tensor:
    """Run the model itself once for every row, with its own ``h_l`` replaced by that row's; return P, ``[row]``."""

    def enter(_m: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (states, *args[1:])

    with hooked_state(stack, layer, enter):
        logits = own_logits(stack, repeated(example.tokens, len(states)))
    choices = stack.spelling.amino_acids.tolist()
    found = []
    for row in example.scored[0].nonzero()[:, 0].tolist():
        distribution = logits[:, row, choices].double().softmax(-1)
        found.append(distribution[:, choices.index(int(example.labels[0, row]))])
    return torch.stack(found).mean(0)


def repeated(tokens: Tokens, times: int) -> Tokens:
    """Return a batch of the same sequence many times."""
    return Tokens(
        *(each.repeat(times, 1) for each in (tokens.ids, tokens.attended, tokens.residues)),
        source=None if tokens.source is None else repeated(tokens.source, times),
        coordinates=None if tokens.coordinates is None else tokens.coordinates.repeat(times, 1, 1, 1),
    )


def clean_states(stack: LayerStack, example: Example) -> list[Tensor]:
    with torch.no_grad():
        return [state[0] for state in clean_descent(stack, example.tokens).states]


def riemann(
    stack: LayerStack,
    example: Example,
    layer: int,
    baseline: Tensor,
    state: Tensor,
    steps: int = STEPS,
    at_once: int = 500,
) -> Tensor:
    """Midpoint rule, all positions together; attribution ``[token]``."""
    total = torch.zeros(state.shape, dtype=torch.float64)
    for shares in ((torch.arange(steps).to(state) + 0.5) / steps).split(at_once):
        path = (baseline + shares[:, None, None] * (state - baseline)).requires_grad_()
        own_probability(stack, example, layer, path).sum().backward()
        total += path.grad.double().sum(0) / steps
    return (total * (state - baseline).double()).sum(-1)


def naive_places(example: Example, tokens: Tensor) -> list[float]:
    """Sum attributions over the four places, one token at a time."""
    sums = dict.fromkeys(PLACES, 0.0)
    targets = example.scored[0].nonzero()[:, 0].tolist()
    for position, value in enumerate(tokens.tolist()):
        if position in targets:
            sums["targets"] += value
        elif not example.tokens.residues[0, position]:
            sums["special"] += value
        elif min(abs(position - target) for target in targets) <= 4:
            sums["neighbours"] += value
        else:
            sums["rest"] += value
    return list(sums.values())


def mean_of(stack: LayerStack, layer: int) -> Tensor:
    """Mean state over all residues of the data, one sequence at a time."""
    residues = []
    for row in range(len(PROTEINS)):
        example = example_for(stack).sequence(row)
        residues.append(clean_states(stack, example)[layer][example.tokens.residues[0]])
    return torch.cat(residues).mean(0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("baseline", ["mean", "zero"])
def test_few_nodes_equal_a_fine_riemann_sum_through_the_model_itself(family: str, baseline: str) -> None:
    stack = stack_of(family, n_layers=3, width=16, n_heads=2)
    example = few(stack).sequence(1)
    options = {"baseline": baseline, "tolerance": 1e-5, "max_nodes": 512, "max_rows": 64}
    found = prepared(stack, **options).measure(stack, example).curves[0]
    for layer in range(4 if baseline == "mean" else 3):
        state = clean_states(stack, example)[layer]
        start = mean_of(stack, layer).expand_as(state) if baseline == "mean" else torch.zeros_like(state)
        expected = naive_places(example, riemann(stack, example, layer, start, state))
        torch.testing.assert_close(found[: len(PLACES), layer].tolist(), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_nodes_are_added_until_the_tolerance_is_reached(family: str) -> None:
    stack = stack_of(family)
    rough, usual, fine = (curves_of(stack, nodes=4, tolerance=t) for t in (math.inf, 0.01, 1e-4))
    assert (rough[:, NODES] == 4).all()
    assert (usual[:, ERROR] <= 0.01).all()
    assert (fine[:, ERROR] <= 1e-4).all()
    assert (usual[:, NODES][rough[:, ERROR] > 0.01] > 4).all()
    assert fine[:, NODES].mean() > usual[:, NODES].mean() > 4


@pytest.mark.parametrize("family", FAMILIES)
def test_an_error_that_is_not_reached_stays_visible(family: str) -> None:
    curves = curves_of(stack_of(family), baseline="zero", nodes=4, max_nodes=8, tolerance=0.0)
    assert (curves[:, NODES] == 8).all()
    assert (curves[:, ERROR] > 0).all()
    assert (curves[:, ERROR].amax(-1) > 0.05).all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("baseline", ["mean", "zero"])
def test_attributions_add_up_to_the_change_of_the_models_own_probability(family: str, baseline: str) -> None:
    stack = stack_of(family)
    curves = curves_of(stack, baseline=baseline, max_nodes=64, tolerance=1e-3, max_layers=4)
    for row in range(len(PROTEINS)):
        example = few(stack).sequence(row)
        for layer in (0, 2, 6):
            state = clean_states(stack, example)[layer]
            start = mean_of(stack, layer).expand_as(state) if baseline == "mean" else torch.zeros_like(state)
            with torch.no_grad():
                below, above = own_probability(stack, example, layer, torch.stack([start, state])).tolist()
            missing = abs(curves[row, : len(PLACES), layer].sum().item() - (above - below))
            assert missing / max(abs(above - below), 1e-3) == pytest.approx(curves[row, ERROR, layer].item(), abs=1e-3)
            assert baseline == "zero" or missing < 1e-3 * max(abs(above - below), 1e-3) + 1e-6


@pytest.mark.parametrize("family", FAMILIES)
def test_at_the_last_layer_every_target_receives_the_change_of_its_own_probability(family: str) -> None:
    stack = stack_of(family)
    example = few(stack).sequence(0)
    metric = prepared(stack, tolerance=1e-4)
    values = metric.measure(stack, example).curves[0, :, -1]
    state, start = clean_states(stack, example)[-1], mean_of(stack, 6)
    letters = [stack.spelling.letters[letter] for letter in CANONICAL]
    expected = 0.0
    for row in example.scored[0].nonzero()[:, 0].tolist():
        truth = letters.index(int(example.labels[0, row]))
        with torch.no_grad():
            at, before = (stack.logits(h[None])[0, letters].double().softmax(-1)[truth] for h in (state[row], start))
        expected += (at - before).item() / 2
    assert values[0].item() == pytest.approx(expected, rel=1e-3)
    assert values[1:4].tolist() == [0, 0, 0]


def test_a_state_that_equals_the_baseline_receives_nothing() -> None:
    stack = stack_of("esm2")  # hidden residues have a zero embedding
    curves = curves_of(stack, baseline="zero", nodes=4, tolerance=math.inf)
    assert (curves[:, 0, 0] == 0).all()
    assert (curves[:, 0, 1:] != 0).all()
    assert (curves[:, 1, 0] != 0).all()


def test_in_a_causal_model_what_follows_the_last_target_receives_nothing() -> None:
    stack = stack_of("progen2")
    scored = torch.zeros_like(few(stack).scored)
    scored[:, 3] = True  # of 13 residues and more: 4 to 7 are near, the suffix is the only special token behind
    curves = curves_of(stack, replace(few(stack), scored=scored), nodes=4, tolerance=math.inf)
    assert (curves[:, PLACES.index("rest")] == 0).all()
    before = [curves[:, PLACES.index(place), 2] for place in ("targets", "neighbours", "special")]
    assert all((values != 0).all() for values in before)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("baseline", ["mean", "zero"])
def test_a_dead_layer_leaves_the_attribution_of_the_layer_below(family: str, baseline: str) -> None:
    stack = DeadLayers(layers=[3, 5]).stack(stack_of(family))
    curves = curves_of(stack, baseline=baseline, nodes=16, tolerance=math.inf)
    for dead in (3, 5):
        same = {"rtol": 1e-4, "atol": 1e-6}
        torch.testing.assert_close(curves[:, :4, dead], curves[:, :4, dead - 1], **same)
    for alive in (1, 2, 4, 6):
        assert (curves[:, :4, alive] - curves[:, :4, alive - 1]).abs().amax(1).min() > 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_and_chunks_change_nothing(family: str) -> None:
    stack = stack_of(family)
    metric = prepared(stack, max_layers=3)
    together = metric.measure(stack, few(stack)).curves
    for row in range(len(PROTEINS)):
        for max_rows in (1, 3, 100):
            alone = replace(metric, max_rows=max_rows).measure(stack, few(stack).sequence(row)).curves[0]
            torch.testing.assert_close(together[row, :4], alone[:4], rtol=1e-4, atol=1e-6, equal_nan=True)
            torch.testing.assert_close(together[row, NODES], alone[NODES], equal_nan=True)


def test_every_token_has_one_place() -> None:
    residues = torch.tensor([False] + [True] * 14 + [False, False])
    scored = torch.zeros(17, dtype=torch.bool)
    scored[[1, 2]] = True
    places = places_of(residues, scored)
    assert (places.sum(0) == 1).all()
    rows = {place: where.nonzero()[:, 0].tolist() for place, where in zip(PLACES, places, strict=True)}
    assert rows == {
        "targets": [1, 2],
        "neighbours": [3, 4, 5, 6],
        "rest": [7, 8, 9, 10, 11, 12, 13, 14],
        "special": [0, 15, 16],
    }


def test_a_terminus_that_predicts_a_target_is_a_target() -> None:
    residues, scored = torch.tensor([False, True, True, False]), torch.tensor([True, False, False, False])
    assert places_of(residues, scored).int().tolist() == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("most", "expected"), [(2, [0, 6]), (3, [0, 3, 6]), (4, [0, 2, 4, 6]), (50, [0, 1, 2, 3, 4, 5, 6])]
)
def test_layers_are_evenly_spaced_and_others_have_no_value(most: int, expected: list[int]) -> None:
    stack = stack_of("esm2")
    curves = curves_of(stack, max_layers=most, nodes=4, tolerance=math.inf)
    measured = ~curves.isnan()
    assert measured[0, 0].nonzero()[:, 0].tolist() == expected
    assert (measured == measured[:1, :1]).all()
    everything = curves_of(stack, nodes=4, tolerance=math.inf)
    torch.testing.assert_close(curves[..., expected], everything[..., expected], rtol=0, atol=0)


def test_a_sequence_without_targets_has_no_value() -> None:
    stack = stack_of("esm2")
    scored = few(stack).scored.clone()
    scored[1] = False
    curves = curves_of(stack, replace(few(stack), scored=scored), max_layers=2)
    assert curves[1].isnan().all()
    assert not curves[[0, 2]][..., [0, 6]].isnan().any()


def test_the_mean_state_is_the_baseline_and_is_needed() -> None:
    stack = stack_of("esm2")
    with pytest.raises(ValueError, match="call prepared"):
        IntegratedGradients().measure(stack, few(stack))
    metric = prepared(stack)
    assert metric.means is not None
    for layer in range(7):
        torch.testing.assert_close(metric.means[layer].float(), mean_of(stack, layer), rtol=1e-4, atol=1e-5)


def test_the_zero_baseline_does_not_look_at_the_data_first() -> None:
    metric = IntegratedGradients(baseline="zero")

    def never() -> Any:
        raise AssertionError
        yield

    assert metric.prepared(stack_of("esm2"), never()) is metric


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": "median"}, "choose mean or zero"),
        ({"nodes": 0}, "both are multiples of 4"),
        ({"nodes": 6}, "both are multiples of 4"),
        ({"max_nodes": 130}, "both are multiples of 4"),
        ({"nodes": 64, "max_nodes": 32}, "nodes is at most max_nodes"),
        ({"tolerance": -0.1}, "0 or more"),
        ({"tolerance": math.nan}, "0 or more"),
        ({"max_layers": 1}, "null measures all"),
        ({"max_rows": 0}, "at least one"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        IntegratedGradients(**options)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_measurement_leaves_no_trace_even_after_an_error(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of(family)
    before = {name: value.clone() for name, value in stack.module.state_dict().items()}
    metric = prepared(stack, nodes=4, tolerance=math.inf)
    with torch.no_grad():
        curves = metric.measure(stack, few(stack)).curves
    assert not curves.requires_grad
    assert curves.dtype == torch.float64
    calls = {"left": 40}
    original: Callable[..., Tensor] = LayerStack.apply_layer

    def failing(*args: Any) -> Tensor:
        calls["left"] -= 1
        if calls["left"] == 0:
            raise RuntimeError("in the middle")
        return original(*args)

    monkeypatch.setattr(LayerStack, "apply_layer", failing)
    with pytest.raises(RuntimeError, match="in the middle"):
        metric.measure(stack, few(stack))
    assert hooks_of(stack) == 0
    assert all(torch.equal(before[name], value) for name, value in stack.module.state_dict().items())
    assert all(parameter.grad is None for parameter in stack.module.parameters())


def test_a_gradient_that_is_not_finite_stops_the_run_and_names_the_layer() -> None:
    stack = stack_of("esm2")
    metric = prepared(stack)
    stack.anatomy.layers[4].register_full_backward_hook(lambda _m, grads, _o: (grads[0] * torch.nan, *grads[1:]))
    with pytest.raises(NonFiniteStateError, match="after layer 0 holds NaN"):
        metric.measure(stack, few(stack))


def test_layers_below_are_not_run_again() -> None:
    stack, calls = stack_of("progen2"), []
    example = few(stack).sequence(1)
    metric = prepared(stack, nodes=8, tolerance=math.inf)
    for number, layer in enumerate(stack.anatomy.layers, start=1):
        layer.register_forward_hook(lambda *_, n=number: calls.append(n))
    metric.measure(stack, example)
    # Layer n serves the clean run, and for each of the n states below it the ends of the intervals and their nodes.
    assert [calls.count(number) for number in range(1, 7)] == [1 + 2 * number for number in range(1, 7)]
