import pytest
import torch
from torch import Tensor

from plmdepth.interventions.backward import GradientRows, check_gradient, target_log_probabilities
from plmdepth.interventions.descent import clean_descent
from plmdepth.language_models.layer_stack import LayerCall, LayerStack, NonFiniteStateError
from plmdepth.proteins.protein import CANONICAL
from tests.recorder import hooks_of
from tests.stacks import EVERYWHERE, example_for, stack_of

FAMILIES = sorted(EVERYWHERE)


def score(stack: LayerStack) -> object:
    """A score that tells rows, tokens and features apart."""
    return lambda state: stack.logits(state)[:, :, 7].square().sum(-1)


def rows_of(family: str, most: int = 8) -> tuple[GradientRows, Tensor]:
    """Return what differentiates, and three different states after layer 2."""
    stack = stack_of(family)
    with torch.no_grad():
        descent = clean_descent(stack, example_for(stack).sequence(1).tokens)
    states = torch.cat([descent.states[2] * scale for scale in (1.0, 0.5, 2.0)])
    return GradientRows(stack, descent.call, score(stack), most), states


@pytest.mark.parametrize("family", FAMILIES)
def test_the_probability_of_the_truth_is_renormalised_over_the_twenty_amino_acids(family: str) -> None:
    stack = stack_of(family)
    example = example_for(stack).sequence(0)
    with torch.no_grad():
        states = stack.run(example.tokens)[example.scored]
        found = target_log_probabilities(stack, torch.stack([states, 2 * states]), example.labels[example.scored])
        letters = {stack.spelling.letters[letter] for letter in CANONICAL}
        for row, scaled in enumerate((states, 2 * states)):
            for target, logits in enumerate(stack.logits(scaled).double().exp().tolist()):
                truth = logits[int(example.labels[example.scored][target])]
                expected = truth / sum(value for token, value in enumerate(logits) if token in letters)
                assert found[row, target].exp().item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("most", [1, 2, 8])
def test_every_row_gets_the_gradient_that_it_has_alone(family: str, most: int) -> None:
    rows, states = rows_of(family, most)
    found = rows.gradients(2, states)
    for row, state in enumerate(states):
        leaf = state[None].clone().requires_grad_()
        final = rows.stack.resume(3, leaf, rows.call)
        rows.score(final).sum().backward()
        torch.testing.assert_close(found[row], leaf.grad[0], rtol=1e-4, atol=1e-4)
        assert rows.scores(2, states)[row].item() == pytest.approx(rows.score(final).item(), rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_along_the_gradient_changes_the_score_by_its_square(family: str) -> None:
    rows, states = rows_of(family)
    gradient = rows.gradients(2, states)
    size = gradient.square().sum((1, 2))
    step = (1e-3 / size.sqrt())[:, None, None] * gradient
    slope = (rows.scores(2, states + step) - rows.scores(2, states - step)) / 2e-3
    torch.testing.assert_close(slope, size.sqrt(), rtol=1e-2, atol=0)


def test_gradients_are_found_where_they_are_switched_off() -> None:
    rows, states = rows_of("esm2")
    with torch.no_grad():
        assert rows.gradients(2, states).abs().max() > 0
        assert not rows.gradients(2, states).requires_grad


def test_running_out_of_memory_halves_the_chunk_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, states = rows_of("esm2")
    expected = rows.gradients(2, states)
    original = LayerStack.apply_layer

    def small(self: LayerStack, layer: int, chunk: Tensor, call: LayerCall) -> Tensor:
        if len(chunk) > 1:
            raise torch.OutOfMemoryError("too large")
        return original(self, layer, chunk, call)

    monkeypatch.setattr(LayerStack, "apply_layer", small)
    torch.testing.assert_close(rows.gradients(2, states), expected, rtol=1e-4, atol=1e-4)
    assert rows.most == 1


def test_running_out_of_memory_at_one_row_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, states = rows_of("esm2")

    def never(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("too large")

    monkeypatch.setattr(LayerStack, "apply_layer", never)
    with pytest.raises(torch.OutOfMemoryError):
        rows.gradients(2, states)
    assert hooks_of(rows.stack) == 0


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_names_the_layer(value: float) -> None:
    gradient = torch.zeros(2, 3)
    check_gradient(gradient, 4)
    gradient[1, 1] = value
    with pytest.raises(NonFiniteStateError, match="after layer 4 holds NaN or infinity"):
        check_gradient(gradient, 4)
