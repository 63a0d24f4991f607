"""The table of layers fits a terminal and says what the file says."""

from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from plmdepth.report.ranking import answers, composition_alone, print_ranking, ranking_table
from plmdepth.results.record import Record
from tests.report.test_figures import curves


def layers(splits: tuple[str, ...] = ("valid", "test"), metric: str = "f1_max", n_layers: int = 33) -> pd.DataFrame:
    """Return a table in which layer 20 is the best and the last the worst."""
    order = [20, *(layer for layer in range(n_layers) if layer != 20), n_layers]
    rows = []
    for place, layer in enumerate(order):
        row: dict[str, Any] = {"layer": layer, "depth": layer / n_layers, "milliseconds": 100.0 * layer}
        for split in splits:
            score, gap = 0.95 - place / 1000, 0.033 - place / 1000
            row |= {f"{split}_{metric}": score, f"{split}_{metric}_low": score - 0.01}
            row |= {f"{split}_{metric}_high": score + 0.02, f"{split}_difference_to_last": gap}
            row |= {f"{split}_difference_to_last_low": gap - 0.002, f"{split}_difference_to_last_high": gap + 0.004}
        rows.append(row)
    return pd.DataFrame(rows)


def printed(table: pd.DataFrame, metric: str = "f1_max") -> list[str]:
    console = Console(file=StringIO(), width=80)
    console.print(ranking_table(table, metric))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "splits", [("valid", "test"), ("valid", "test", "casp12"), ("valid", "test", "ts115", "casp12", "casp13")]
)
def test_no_cell_is_cut_at_80_columns(splits: tuple[str, ...]) -> None:
    lines = printed(layers(splits, "accuracy"), "accuracy")
    assert all(len(line) <= 80 for line in lines)
    assert not any("…" in line for line in lines)


def test_a_row_has_cost_scores_and_the_difference_with_half_their_intervals() -> None:
    rows = [line.split() for line in printed(layers())]
    assert ["20", "2000.0", "0.950", "±.015", "0.950", "±.015", "+0.033", "±.003"] in rows


def test_the_ten_best_are_shown_and_the_last_layer_always() -> None:
    numbers = [words[0] for line in printed(layers()) if (words := line.split()) and words[0].isdigit()]
    assert numbers == ["20", *map(str, range(9)), "33"]


def test_the_difference_is_that_of_the_test_whatever_follows_it() -> None:
    table = layers(("valid", "test", "casp12"))
    table["casp12_difference_to_last"] = 0.5
    assert not any("+0.5" in line for line in printed(table))


def test_a_score_without_an_interval_stands_alone() -> None:
    table = layers()
    table["test_f1_max_low"] = float("nan")
    rows = [line.split() for line in printed(table)]
    assert ["20", "2000.0", "0.950", "±.015", "0.950", "+0.033", "±.003"] in rows


@pytest.mark.parametrize(
    ("gain", "interval", "said"),
    [
        (0.02, {"low": 0.01, "high": 0.03}, "+0.020 [+0.010, +0.030] against the last layer."),
        (0.02, None, "it reads 0.900 f1_max, +0.020 against the last layer."),
        (None, None, "Layer 5 is the best on validation."),
    ],
)
def test_the_answer_names_the_layer_and_its_gain(gain: float | None, interval: Any, said: str) -> None:
    scalars = {"best_layer": 5.0, "test_f1_max_best": 0.9, "test_f1_max_gain": gain}
    (sentence,) = answers({"scalars": scalars, "scalar_intervals": {"test_f1_max_gain": interval}}, "f1_max")
    assert sentence.startswith("Layer 5 is the best on validation")
    assert sentence.endswith(said)


def result_of(**scalars: Any) -> dict[str, Any]:
    """Return what a record says of a best layer and of composition alone."""
    known = {"best_layer": 20.0, "test_f1_max_best": 0.95, "test_f1_max_gain": 0.033}
    known |= {"test_f1_max_composition": 0.412, "test_f1_max_over_composition": 0.538}
    intervals = {f"test_f1_max_{name}": None for name in ("best", "gain")}
    intervals |= {"test_f1_max_composition": {"low": 0.39, "high": 0.43}}
    intervals |= {"test_f1_max_over_composition": {"low": 0.51, "high": 0.56}}
    task = {"metric": "f1_max", "proteins": {"train": 5000}, "classes_without_a_positive_in_train": []}
    return {
        **{"scalars": known | scalars, "scalar_intervals": intervals, "task": task},
        "composition": {"proteins": 5000},
        "provenance": {
            "sequences_skipped": {"test: duplicate id": 2},
            "letters_changed": {"test: lower case raised": 9},
            "notes": ["8 ids of test have no sequence, first: 0032-a"],
        },
    }


def test_composition_alone_is_said_with_its_interval_and_what_the_best_layer_adds() -> None:
    assert composition_alone(result_of(), "f1_max") == [
        "Composition alone: 0.412 [0.390, 0.430] f1_max on test; the best layer is +0.538 [+0.510, +0.560] against it."
    ]


def test_composition_fitted_on_a_part_of_the_proteins_is_said_to_be() -> None:
    result = result_of() | {"composition": {"proteins": 1200}}
    assert "(fitted on 1,200 of 5,000 proteins)" in composition_alone(result, "f1_max")[0]


def test_what_is_not_known_of_composition_is_not_said() -> None:
    assert composition_alone({"scalars": {}, "scalar_intervals": {}}, "f1_max") == []  # a record without it
    (sentence,) = composition_alone(result_of(test_f1_max_over_composition=None), "f1_max")
    assert sentence == "Composition alone: 0.412 [0.390, 0.430] f1_max on test."


def test_the_terminal_shows_composition_below_the_answer(tmp_path: Path) -> None:
    layers().to_csv(tmp_path / "layers.csv", index=False)
    console = Console(file=StringIO(), width=80)
    print_ranking(Record(tmp_path, result_of(), curves(), ""), console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    (answer,) = (place for place, line in enumerate(lines) if line.startswith("  Layer 20 is the best"))
    assert lines[answer + 1].startswith("  Composition alone: 0.412 [0.390, 0.430]")
    for note in (
        "2 dropped: test: duplicate id",
        "test: lower case raised: 9",
        "8 ids of test have no sequence, first: ",
    ):
        assert any(line.startswith(f"  note: {note}") for line in lines)
