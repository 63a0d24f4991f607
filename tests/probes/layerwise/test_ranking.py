"""The layer is chosen on validation and read on test, and the table says what each costs."""

import pytest
import torch

from plmdepth.metrics.accumulators import Estimate
from plmdepth.probes.layerwise.ranking import LayerScores, ranked

VALID, TEST = [0.5, 0.9, 0.8], [0.4, 0.6, 0.7]


def split(name: str, values: list[float]) -> LayerScores:
    value = torch.tensor(values, dtype=torch.float64)
    replicates = value + torch.tensor([[-0.1, 0.0, 0.1]], dtype=torch.float64).T  # all layers rise and fall together
    return LayerScores(
        name, {"accuracy": Estimate(value, value - 0.1, value + 0.1, torch.full_like(value, 9), replicates)}
    )


def test_the_best_layer_is_that_of_validation_also_where_test_has_a_better_one() -> None:
    found = split("test", TEST).answers("accuracy", split("valid", VALID))
    assert found["best_layer"] == (1.0, None)
    assert found["best_layer_depth"] == (0.5, None)
    assert found["test_accuracy_best"][0] == pytest.approx(0.6)
    assert found["test_accuracy_last"][0] == pytest.approx(0.7)
    gain, interval = found["test_accuracy_gain"]
    assert gain == pytest.approx(-0.1)
    assert interval == pytest.approx({"low": -0.1, "high": -0.1})  # paired: what moves both layers moves no difference


def test_an_undefined_score_is_never_the_best() -> None:
    found = split("test", TEST).answers("accuracy", split("valid", [float("nan"), 0.1, 0.2]))
    assert found["best_layer"] == (2.0, None)


def test_layers_are_ranked_by_validation_with_their_cost_and_both_scores() -> None:
    table = ranked([split("valid", VALID), split("test", TEST)], "accuracy", [1.0, 2.0, 4.0])
    assert table["layer"].tolist() == [1, 2, 0]
    assert table["depth"].tolist() == [0.5, 1.0, 0.0]
    assert table["milliseconds"].tolist() == [2.0, 4.0, 1.0]
    assert table["test_accuracy"].tolist() == pytest.approx([0.6, 0.7, 0.4])
    assert table["test_difference_to_last"].tolist() == pytest.approx([-0.1, 0.0, -0.3])
