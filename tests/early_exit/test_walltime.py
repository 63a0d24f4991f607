"""Seconds: with a clock that counts rows of layers, time must equal layers exactly."""

import math
import time

import pandas as pd
import pytest
import torch
from torch import Tensor

from plmdepth.early_exit.walltime import relation, wall_times
from plmdepth.language_models.layer_stack import LayerCall, LayerStack
from tests.early_exit.test_inference import MANY, between, early_exit, heads_for, probabilities_of
from tests.stacks import stack_of


class Clock:
    """Moves by one for every row of every layer, and not otherwise."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now, self.seconds_a_row = 0.0, 1.0
        original = LayerStack.apply_layer

        def apply_layer(stack: LayerStack, layer: int, state: Tensor, call: LayerCall) -> Tensor:
            self.now += len(state) * self.seconds_a_row
            return original(stack, layer, state, call)

        patch.setattr(LayerStack, "apply_layer", apply_layer)
        patch.setattr(time, "perf_counter", lambda: self.now)


def test_seconds_are_those_of_the_layers_that_were_run(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of("esm2")
    heads = heads_for(stack)
    middle = between(probabilities_of(stack, heads).amax(-1)[1:])
    Clock(monkeypatch)
    early = early_exit(stack, heads, 0.0, "last")
    table = wall_times(early, MANY, [0.0, middle, 2.0], 10_000, rounds=2)
    assert table["threshold"].tolist() == [0.0, middle, 2.0]
    assert table["layers"].iloc[[0, 2]].tolist() == [1.0, 6.0]
    assert 1 < table["layers"][1] < 6
    assert (table["full_seconds"] == 6 * len(MANY)).all()
    assert table["seconds"].tolist() == pytest.approx((table["layers"] * len(MANY)).tolist())
    assert table["time_share"].tolist() == pytest.approx(table["layer_share"].tolist())
    assert relation(table) == pytest.approx({"slope": 1.0, "intercept": 0.0, "r_squared": 1.0})


def test_the_first_round_only_warms_up_and_the_median_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of("esm2")
    clock, early = Clock(monkeypatch), early_exit(stack, heads_for(stack), 0.0, "last")
    speeds, embed = iter([100, 1, 7, 1]), LayerStack.embed  # of the warm-up and of three rounds

    def embed_at(stack: LayerStack, tokens: object) -> object:
        clock.calls = getattr(clock, "calls", 0) + 1  # type: ignore[attr-defined]
        if clock.calls % 2:  # type: ignore[attr-defined]
            clock.seconds_a_row = next(speeds)
        return embed(stack, tokens)  # type: ignore[arg-type]

    monkeypatch.setattr(LayerStack, "embed", embed_at)
    table = wall_times(early, MANY[:1], [2.0], 10_000, rounds=3)
    assert table["seconds"].tolist() == [6.0]


def test_the_relation_is_a_straight_line_through_the_shares() -> None:
    table = pd.DataFrame({"layer_share": [0.2, 0.5, 1.0], "time_share": [0.3, 0.6, 1.1]})
    assert relation(table) == pytest.approx({"slope": 1.0, "intercept": 0.1, "r_squared": 1.0})
    table["time_share"] = [0.5, 0.4, 1.1]
    x, y = (torch.tensor(table[name].to_numpy()) for name in ("layer_share", "time_share"))
    pearson = torch.corrcoef(torch.stack([x, y]))[0, 1].item()
    assert relation(table)["r_squared"] == pytest.approx(pearson**2)


@pytest.mark.parametrize("shares", [[], [0.5], [0.2, 1.0], [0.5, 0.5, 0.5, 1.0]])
def test_two_points_make_no_relation(shares: list[float]) -> None:
    found = relation(pd.DataFrame({"layer_share": shares, "time_share": shares}))
    assert set(found) == {"slope", "intercept", "r_squared"}
    assert all(math.isnan(value) for value in found.values())
