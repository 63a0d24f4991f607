"""Integrals along a line against cases by hand, and where the nodes go."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from plmdepth.interventions.path_integral import Line, integrate

Score = Callable[[Tensor], Tensor]


def line(score: Score, start: list[list[float]], end: list[list[float]], most: int = 8) -> Line:
    """Return a line whose gradients are autograd's."""

    def gradients(states: Tensor) -> Tensor:
        leaf = states.clone().requires_grad_()
        return torch.autograd.grad(score(leaf).sum(), leaf)[0]

    return Line(torch.tensor(start).double(), torch.tensor(end).double(), score, gradients, most)


def step(where: float, width: float) -> Score:
    """A smooth step of the first token's only feature, at a share of the line from 0 to 1."""
    return lambda states: torch.sigmoid((states[:, 0, 0] - where) / width) + states[:, 1, 0]


def test_a_linear_score_gives_every_position_its_own_change() -> None:
    weight = torch.tensor([[1.0, -2.0], [0.5, 4.0]])
    along = line(lambda states: (states * weight).sum((1, 2)), [[1, 1], [0, 2]], [[3, 0], [2, 2.5]])
    found = integrate(along, nodes=4)
    assert found.tokens.tolist() == pytest.approx([1 * 2 + -2 * -1, 0.5 * 2 + 4 * 0.5])
    assert found.error == pytest.approx(0, abs=1e-12)
    assert found.nodes == 4


def test_a_product_of_two_positions_is_shared_between_them() -> None:
    def product(states: Tensor) -> Tensor:
        return states[:, 0, 0] * states[:, 1, 0]

    # From (0, 0) to (3, 4) the line is (3a, 4a): both receive 3 * 4 * integral of a = 6.
    assert integrate(line(product, [[0], [0]], [[3], [4]])).tokens.tolist() == pytest.approx([6, 6])
    # From (1, 0) to (3, 4): dF/dx = 4a and dF/dy = 1 + 2a, so x receives 2 * 2 and y 4 * 2.
    assert integrate(line(product, [[1], [0]], [[3], [4]])).tokens.tolist() == pytest.approx([4, 8])


def test_a_position_that_does_not_move_receives_nothing() -> None:
    along = line(lambda states: states.square().sum((1, 2)), [[2, 1], [0, 0]], [[2, 1], [1, 3]])
    assert integrate(along).tokens.tolist() == pytest.approx([0, 10])


@pytest.mark.parametrize("degree", range(1, 13))
def test_four_nodes_integrate_polynomials_up_to_degree_eight_exactly(degree: int) -> None:
    along = line(lambda states: (states**degree).sum((1, 2)), [[0.5, 0.5]], [[1.0, 1.5]])
    found = integrate(along, nodes=4, max_nodes=4)
    expected = 1 + 1.5**degree - 2 * 0.5**degree
    missing = abs(found.tokens.item() - expected)
    assert missing < 1e-12 if degree <= 8 else missing > 1e-9
    assert found.error == pytest.approx(missing / expected, rel=1e-3, abs=1e-12)


@pytest.mark.parametrize("most", [1, 3, 100])
@pytest.mark.parametrize("where", [0.001, 0.3137, 0.9])
def test_a_steep_step_is_found_and_integrated_with_few_nodes(where: float, most: int) -> None:
    along = line(step(where, 0.002), [[0], [0]], [[1], [0.5]], most)
    found = integrate(along, tolerance=1e-3)
    change = 1 / (1 + math.exp(-(1 - where) / 0.002)) - 1 / (1 + math.exp(where / 0.002))
    assert found.tokens.tolist() == pytest.approx([change, 0.5], abs=2e-3)
    assert found.error <= 1e-3
    assert found.nodes <= 80


def test_errors_that_cancel_between_intervals_do_not_count_as_accuracy() -> None:
    # A bump of the score: it rises and falls within the line, so its change is that of the second token alone.
    along = line(
        lambda states: torch.exp(-(((states[:, 0, 0] - 0.5) / 0.05) ** 2)) + states[:, 1, 0], [[0], [0]], [[1], [1]]
    )
    assert integrate(along, nodes=8, max_nodes=8).error < 1e-9
    assert integrate(along, nodes=8, tolerance=1e-3).nodes > 16


def test_nodes_stop_at_their_limit_and_the_error_stays_visible() -> None:
    along = line(step(0.3137, 0.002), [[0], [0]], [[1], [0]])
    found = [integrate(along, nodes=4, max_nodes=most, tolerance=0.0) for most in (4, 12, 20, 40, 80)]
    assert [each.nodes for each in found] == [4, 12, 20, 40, 80]
    assert found[0].error > 0.1
    assert found[-1].error < 1e-3
    for each in found:
        assert each.error == pytest.approx(abs(each.tokens.sum().item() - 1), abs=1e-9)


def test_where_there_is_room_for_one_interval_the_worst_is_halved() -> None:
    large, small = step(0.2, 0.02), step(0.7, 0.02)
    along = line(lambda states: large(states) + 0.5 * small(states), [[0], [0]], [[1], [0]])
    edges = torch.tensor([0, 0.25, 0.5, 1]).double()
    expected = along.attributions(edges[:-1], edges[1:]).sum(0)
    assert integrate(along, nodes=8, max_nodes=12).tokens.tolist() == pytest.approx(expected.tolist())


def test_a_small_change_is_judged_in_absolute_terms() -> None:
    steep = step(0.3137, 0.002)
    small, smaller = (line(lambda s, x=size: steep(s) * x, [[0], [0]], [[1], [0]]) for size in (1e-2, 1e-5))
    assert integrate(small, 4, 4).error == pytest.approx(integrate(smaller, 4, 4).error * 100, rel=1e-6)
    assert integrate(small, nodes=8, tolerance=0.02).nodes > 8
    assert integrate(smaller, nodes=8, tolerance=0.02).nodes == 8


def test_nodes_are_placed_where_the_score_changes() -> None:
    seen: list[float] = []
    along = line(step(0.3, 0.002), [[0], [0]], [[1], [0]])

    def watched(states: Tensor) -> Tensor:
        seen.extend(states[:, 0, 0].tolist())
        return along.gradients(states)

    integrate(Line(along.start, along.end, along.score, watched), tolerance=1e-3)
    assert sum(abs(share - 0.3) < 0.05 for share in seen) > len(seen) / 2
    assert all(0 < share < 1 for share in seen)


def test_the_path_has_the_precision_of_the_state_and_the_result_double() -> None:
    along = line(step(0.5, 0.1), [[0], [0]], [[1], [1]])
    kinds: list[torch.dtype] = []

    def score(states: Tensor) -> Tensor:
        kinds.append(states.dtype)
        return along.score(states)

    found = integrate(Line(along.start.float(), along.end.float(), score, along.gradients))
    assert set(kinds) == {torch.float32}
    assert found.tokens.dtype == torch.float64
