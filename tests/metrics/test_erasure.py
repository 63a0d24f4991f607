"""Erasure against one full run for every layer and position, identities and planted depth."""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from plmdepth.controls.dead_layers import DeadLayers
from plmdepth.errors import InputError
from plmdepth.interventions.descent import Rows, clean_descent
from plmdepth.language_models.layer_stack import LayerStack, NonFiniteStateError
from plmdepth.metrics.erasure import Erasure, erased_positions, erased_states, erasure_effects, places_of
from plmdepth.objectives.objective import Example
from plmdepth.proteins.protein import Protein
from plmdepth.randomness import keyed_generator
from tests.calls import hooked_state, own_logits
from tests.interventions.test_mean_states import naive as mean_of_data
from tests.recorder import hooks_of
from tests.stacks import EVERYWHERE, PROTEINS, example_for, stack_of

FAMILIES = sorted(EVERYWHERE)
OWN, NEIGHBOURS, REST = range(3)


def prepared(stack: LayerStack, **options: Any) -> Erasure:
    return Erasure(**options).prepared(stack, [example_for(stack)])


def curves_of(stack: LayerStack, example: Example | None = None, **options: Any) -> Tensor:
    return prepared(stack, **options).measure(stack, example or example_for(stack)).curves


@contextmanager
def erased(stack: LayerStack, layer: int, position: int, mean: Tensor) -> Iterator[None]:
    """Change what the next layer, or the final norm, reads in whole forward passes."""

    def put_mean(_module: Any, args: Any) -> Any:
        state = args[0].clone()
        state[0, position] = mean
        return (state, *args[1:])

    with hooked_state(stack, layer, put_mean):
        yield


def predictions(stack: LayerStack, example: Example) -> Tensor:
    """Return the output distribution of every row of one sequence from the model's own forward pass."""
    with torch.no_grad():
        return own_logits(stack, example.tokens)[0].softmax(-1)


def drawn(example: Example, seed: int, most: int | None) -> list[int]:
    residues = example.tokens.residues[0].nonzero()[:, 0].tolist()
    text = " ".join(map(str, example.tokens.ids[0].tolist()))
    uniform = keyed_generator(seed, "erasure", text).random(len(residues))
    ranked = [position for _, position in sorted(zip(uniform, residues, strict=True))]
    return ranked if most is None else ranked[:most]


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def naive(stack: LayerStack, example: Example, means: Tensor, positions: list[int], near: int) -> Tensor:
    """One full run for every layer and position, ``[place, layer]``."""
    clean = predictions(stack, example)
    result = torch.full((3, stack.n_layers + 1), math.nan).double()
    for layer in range(stack.n_layers + 1):
        by_place: list[list[float]] = [[], [], []]
        for p in positions:
            with erased(stack, layer, p, means[layer]):
                change = (predictions(stack, example) - clean).norm(dim=-1)
            found: list[list[float]] = [[], [], []]
            for row in example.scored[0].nonzero()[:, 0].tolist():
                if row < p and stack.anatomy.causal:
                    continue
                place = OWN if row == p else NEIGHBOURS if abs(row - p) <= near else REST
                found[place].append(change[row].item())
            for place, here in enumerate(found):
                by_place[place] += [mean(here)] if here else []
        result[:, layer] = torch.tensor([mean(values) for values in by_place], dtype=torch.float64)
    return result


@pytest.mark.parametrize("family", [*FAMILIES, "prot_albert", "prot_xlnet"])
@pytest.mark.parametrize(("near", "most", "seed"), [(4, 5, 0), (2, None, 3)])
def test_one_descent_equals_one_full_run_for_every_layer_and_position(
    family: str, near: int, most: int | None, seed: int
) -> None:
    stack = stack_of(family, n_layers=4)
    curves = curves_of(stack, neighbourhood=near, max_positions=most, seed=seed)
    means = mean_of_data(stack, example_for(stack))
    assert curves.shape == (len(PROTEINS), 3, 5)
    assert curves[..., REST, :-1].min() > 1e-4
    for row in range(len(PROTEINS)):
        example = example_for(stack).sequence(row)
        expected = naive(stack, example, means, drawn(example, seed, most), near)
        torch.testing.assert_close(
            curves[row], expected, rtol=1e-4, atol=1e-5, equal_nan=True, check_dtype=False, msg=f"sequence {row}"
        )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", [{"max_rows": 1}, {"max_rows": 100}, {"max_branches": 20}, {"max_branches": 3}])
def test_the_size_of_chunks_and_groups_changes_nothing(family: str, options: dict[str, int]) -> None:
    stack = stack_of(family)
    mine, usual = curves_of(stack, **options), curves_of(stack)
    torch.testing.assert_close(mine, usual, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("most", [1, 3, 7, 20, 56])
def test_no_more_branches_than_allowed_are_alive(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stack, seen = stack_of("esm2"), []
    original = Rows.apply

    def counted(self: Rows, layer: int, states: Tensor) -> Tensor:
        seen.append(len(states))
        return original(self, layer, states)

    monkeypatch.setattr(Rows, "apply", counted)
    curves_of(stack, max_branches=most)
    assert 1 <= max(seen) <= most
    assert max(seen) >= most // 2  # and not far fewer: speed hangs on it


def test_every_layer_runs_only_the_branches_that_left_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stack, evaluated = stack_of("esm2"), Counter()
    example, metric = example_for(stack).sequence(0), prepared(stack, max_positions=5)
    original = LayerStack.apply_layer

    def counted(self: LayerStack, layer: int, state: Tensor, *rest: Any) -> Tensor:
        evaluated[layer] += len(state)
        return original(self, layer, state, *rest)

    monkeypatch.setattr(LayerStack, "apply_layer", counted)
    metric.measure(stack, example)
    assert evaluated == {layer: 1 + 5 * layer for layer in range(1, 7)}  # the clean run, and 0..layer-1


def test_a_sequence_has_the_same_value_alone_and_in_any_batch() -> None:
    for family in FAMILIES:
        stack = stack_of(family)
        metric = prepared(stack)
        together = metric.measure(stack, example_for(stack)).curves
        for row in range(3):
            alone = metric.measure(stack, example_for(stack).sequence(row)).curves[0]
            torch.testing.assert_close(together[row], alone, rtol=0, atol=0, equal_nan=True)


def test_positions_are_residues_drawn_from_seed_and_tokens_alone() -> None:
    stack = stack_of("esm2")
    example = example_for(stack).sequence(0)
    few, more = (erased_positions(example, 0, most).tolist() for most in (8, 20))
    assert few == sorted(drawn(example, 0, 8))
    assert len(set(few)) == 8
    assert set(few) < set(more)
    assert erased_positions(example, 1, 8).tolist() != few
    other = replace(example, tokens=replace(example.tokens, ids=example.tokens.ids.flip(1)))
    assert erased_positions(other, 0, 8).tolist() != few
    everything = list(range(1, len(PROTEINS[0]) + 1))  # neither <cls> nor <eos>
    assert erased_positions(example, 0, None).tolist() == erased_positions(example, 0, 500).tolist() == everything


@pytest.mark.parametrize("causal", [False, True])
def test_every_row_that_sees_the_position_has_one_place(causal: bool) -> None:
    scored = torch.tensor([0, 3, 5, 7, 9, 12])
    own, near, rest = places_of(torch.tensor([5, 6]), scored, 2, causal).tolist()
    assert own == [[False, False, True, False, False, False], [False] * 6]
    before = not causal
    assert near == [[False, before, False, True, False, False], [False, False, before, True, False, False]]
    assert rest == [[before, False, False, False, True, True], [before, before, False, False, True, True]]


@pytest.mark.parametrize("family", FAMILIES)
def test_at_the_last_layer_only_the_own_row_changes(family: str) -> None:
    stack = stack_of(family)
    curves = curves_of(stack, max_positions=None)
    assert (curves[:, [NEIGHBOURS, REST], -1] == 0).all()
    assert curves[:, OWN, -1].min() > 1e-3
    assert curves[:, [NEIGHBOURS, REST], -2].min() > 1e-6


def test_an_unchanged_state_has_no_effect_even_if_a_larger_batch_rounds_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack = stack_of("esm2")
    metric, original = prepared(stack, max_positions=None), LayerStack.logits
    monkeypatch.setattr(LayerStack, "logits", lambda self, state: original(self, state) * (1 + 1e-5 * len(state)))
    curves = metric.measure(stack, example_for(stack)).curves
    assert (curves[:, [NEIGHBOURS, REST], -1] == 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_erasing_a_position_that_holds_the_mean_changes_nothing(family: str) -> None:
    stack = stack_of(family)
    example = example_for(stack).sequence(0)
    with torch.no_grad():
        states = clean_descent(stack, example.tokens).states
    position = drawn(example, 0, 1)[0]
    means = torch.stack([state[0, position] for state in states]).double()
    metric = Erasure(max_positions=1, means=means)
    assert metric.measure(stack, example).curves.nan_to_num().max() < 1e-5
    elsewhere = replace(metric, means=means.roll(1, 0)).measure(stack, example).curves
    assert elsewhere.nan_to_num().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("first", [1, 3, 6])
def test_where_all_layers_above_are_dead_other_rows_do_not_change(family: str, first: int) -> None:
    stack = DeadLayers(layers=range(first, 7)).stack(stack_of(family))
    metric = prepared(stack, max_positions=None)
    curves = metric.measure(stack, example_for(stack)).curves
    others = curves[:, [NEIGHBOURS, REST]]
    assert (others[..., first - 1 :] == 0).all()
    assert (others[..., : first - 1] > 1e-5).all()
    assert curves[:, OWN].min() > 1e-3
    torch.testing.assert_close(  # nothing happens in between: erasing there is erasing at the end, but for the means
        metric.means[first - 1 :], metric.means[-1:].expand(8 - first, -1), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(curves[:, OWN, first - 1 :], curves[:, OWN, -1:].expand(-1, 8 - first).double())
    depth = metric.scalars({("erasure_effect", "rest"): others[:, 1].mean(0)})["erasure_depth"]
    assert depth.isnan() if first == 1 else depth < first - 1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("alive", [2, 5])
def test_a_position_matters_to_others_until_the_only_attention_has_read_it(family: str, alive: int) -> None:
    stack = stack_of(family)
    with torch.no_grad():
        for layer, part in enumerate(stack.anatomy.attention_outputs, 1):
            for parameter in part.parameters() if layer != alive else ():
                parameter.zero_()
    metric = prepared(stack, max_positions=None)
    rest = metric.measure(stack, example_for(stack)).curves[:, REST]
    assert (rest[:, alive:] == 0).all()
    assert (rest[:, :alive] > 1e-5).all()
    # MLPs move the mean away from every state, so the effect need not be flat; it ends with the layer that reads.
    last = metric.scalars({("erasure_effect", "rest"): (rest.mean(0) > 0).double()})["erasure_depth"]
    assert last == alive - 1


def test_in_a_causal_model_rows_before_the_position_do_not_change() -> None:
    stack = stack_of("progen2")
    example, p = example_for(stack).sequence(0), 20
    clean, means = predictions(stack, example), mean_of_data(stack, example_for(stack))
    for layer in range(7):
        with erased(stack, layer, p, means[layer]):
            changed = predictions(stack, example)
        assert torch.equal(changed[:p], clean[:p])
        assert not torch.equal(changed[p], clean[p])
    with torch.no_grad():
        descent = clean_descent(stack, example.tokens)
        effects = erasure_effects(
            Rows(stack, descent.call), descent, means, range(7), torch.tensor([p]), torch.arange(len(clean))
        )
    assert effects[:, :, :p].max() < 1e-6
    assert effects[:-1, :, p:].min() > 1e-6


def test_the_last_residue_of_a_causal_model_has_no_row_that_sees_it() -> None:
    stack = stack_of("progen2")
    example = example_for(stack, (Protein("one", "M"),))
    assert example.scored.sum() == 1
    assert curves_of(stack, example).isnan().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_branches_are_ordered_by_layer_then_position(family: str) -> None:
    stack = stack_of(family)
    example, means = example_for(stack).sequence(1), torch.randn(7, 32, dtype=torch.float64)
    with torch.no_grad():
        descent = clean_descent(stack, example.tokens)
        states = erased_states(Rows(stack, descent.call), descent, means, [0, 4, 6], torch.tensor([2, 5]))
        expected = []
        for layer in (0, 4, 6):
            for position in (2, 5):
                state = descent.states[layer].clone()
                state[0, position] = means[layer].float()
                expected.append(stack.resume(layer + 1, state, descent.call)[0])
    torch.testing.assert_close(states, torch.stack(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("most", "expected"), [(2, [0, 6]), (3, [0, 3, 6]), (4, [0, 2, 4, 6]), (99, list(range(7)))])
def test_fewer_layers_have_the_same_values(most: int, expected: list[int]) -> None:
    stack = stack_of("esm2")
    some, everything = curves_of(stack, max_layers=most), curves_of(stack)
    assert (~some[0, REST].isnan()).nonzero()[:, 0].tolist() == expected
    others = [layer for layer in range(7) if layer not in expected]
    assert some[..., others].isnan().all()
    torch.testing.assert_close(some[..., expected], everything[..., expected], rtol=1e-5, atol=1e-6, equal_nan=True)


def test_a_place_without_rows_and_a_sequence_without_targets_have_no_value() -> None:
    stack = stack_of("esm2")
    assert curves_of(stack, neighbourhood=0)[:, NEIGHBOURS].isnan().all()
    assert curves_of(stack, neighbourhood=500)[:, REST].isnan().all()
    example = example_for(stack)
    scored = example.scored.clone()
    scored[1] = False
    curves = curves_of(stack, replace(example, scored=scored))
    assert curves[1].isnan().all()
    assert not curves[[0, 2], REST].isnan().any()


def test_a_sequence_without_targets_costs_no_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of("esm2")
    example, metric = example_for(stack), prepared(stack)

    def never(*_: Any) -> Tensor:
        raise AssertionError

    monkeypatch.setattr(LayerStack, "apply_layer", never)
    assert metric.measure(stack, replace(example, scored=example.scored & False)).curves.isnan().all()


def test_the_mean_states_are_needed() -> None:
    stack = stack_of("esm2")
    with pytest.raises(ValueError, match="call prepared"):
        Erasure().measure(stack, example_for(stack))
    torch.testing.assert_close(prepared(stack).means, mean_of_data(stack, example_for(stack)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbourhood": -1}, "0 tokens or more"),
        ({"max_positions": 0}, "null erases every residue"),
        ({"max_layers": 1}, "null measures all"),
        ({"max_rows": 0}, "at least one branch runs"),
        ({"max_branches": 0}, "at least one branch is alive"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, int], message: str) -> None:
    name = next(iter(options))
    with pytest.raises(InputError, match=rf"^metric\.{name}=.*{message}"):
        Erasure(**options)


def test_a_prediction_that_is_not_finite_names_the_layer() -> None:
    stack = stack_of("esm2")
    means = prepared(stack).means.clone()
    means[4, 0] = torch.inf
    with pytest.raises(NonFiniteStateError, match="erasing at layer 4 holds NaN"):
        Erasure(means=means).measure(stack, example_for(stack))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_measurement_leaves_no_trace_even_after_an_error(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of(family)
    before = {name: value.clone() for name, value in stack.module.state_dict().items()}
    metric = prepared(stack)
    means = metric.means.clone()
    metric.measure(stack, example_for(stack))
    calls = {"left": 40}
    original = LayerStack.apply_layer

    def failing(*args: Any) -> Tensor:
        calls["left"] -= 1
        if calls["left"] == 0:
            raise RuntimeError("in the middle")
        return original(*args)

    monkeypatch.setattr(LayerStack, "apply_layer", failing)
    with pytest.raises(RuntimeError, match="in the middle"):
        metric.measure(stack, example_for(stack))
    assert hooks_of(stack) == 0
    assert torch.equal(metric.means, means)
    assert all(torch.equal(before[name], value) for name, value in stack.module.state_dict().items())


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ([1.0, 0.9, 0.51, 0.5, 0.0], 2.0),
        ([0.1, 1.0, math.nan, 0.8, 0.2], 3.0),
        ([0.0, 0.0, 0.0, 0.0, 0.0], math.nan),
        ([math.nan] * 5, math.nan),
    ],
)
def test_erasure_depth_is_the_last_layer_above_half_of_the_maximum(rest: list[float], expected: float) -> None:
    curve = torch.tensor(rest)
    alone = Erasure().scalars({("erasure_effect", "rest"): curve})["erasure_depth"]
    stacked = Erasure().scalars({("erasure_effect", "rest"): curve.expand(3, 5)})["erasure_depth"]
    assert alone.item() == pytest.approx(expected, nan_ok=True)
    assert stacked.tolist() == pytest.approx([expected] * 3, nan_ok=True)
