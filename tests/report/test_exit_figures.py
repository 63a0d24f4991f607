"""The figures of early exit show the tables of its study."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plmdepth.report.exit_figures import (
    draw_exits,
    draw_reliability,
    draw_seconds,
    draw_selective,
    shown_layers,
    write_exit_figures,
)
from plmdepth.results.atomic import write_json
from tests.report.test_figures import curves

METRIC = "accuracy"
SCALARS = {"time_slope": 0.9, "time_intercept": 0.1, "time_r_squared": 0.98}
SECONDS = pd.DataFrame(
    {"threshold": [0.2, 0.8, 2.0], "layer_share": [0.25, 0.5, 1.0], "time_share": [0.3, 0.6, 1.0], "seconds": 1.0}
)


def exits() -> pd.DataFrame:
    rows = []
    for split, better in (("valid", 0.05), ("test", 0.0)):
        for fallback, less in (("last", 0.0), ("most_confident", 0.02)):
            for threshold, layers, score in ((0.2, 1.0, 0.6), (0.8, 2.5, 0.8), (2.0, 4.0, 0.9)):
                value = score + better - less
                gap = value - 0.9 - better
                rows.append(
                    {
                        "split": split,
                        "fallback": fallback,
                        "threshold": threshold,
                        "layers": layers,
                        "share": layers / 4,
                    }
                    | {METRIC: value, f"{METRIC}_low": value - 0.03, f"{METRIC}_high": value + 0.04}
                    | {"difference_to_last": gap, "difference_to_last_low": gap - 0.01}
                    | {"difference_to_last_high": gap + 0.01}
                )
    return pd.DataFrame(rows)


def choices(*picked: tuple[str, str, float]) -> pd.DataFrame:
    test = exits().query("split == 'test'").drop(columns="split")
    return pd.DataFrame(picked, columns=["goal", "fallback", "threshold"]).merge(test, on=["fallback", "threshold"])


CHOICES = choices(("no_loss", "last", 2.0), ("best", "last", 0.8), ("best", "most_confident", 2.0))


def study_curves() -> pd.DataFrame:
    parts = [curves("early_exit", name, ("test",)) for name in ("aurc", "excess_aurc", METRIC)]
    table = pd.concat(parts, ignore_index=True)
    return table.assign(value=table["value"] / 4, ci_low=table["ci_low"] / 4, ci_high=table["ci_high"] / 4)


def reliability(*scalings: str) -> pd.DataFrame:
    rows = [
        {"scaling": scaling, "layer": layer, "bin": place, "probability": place / 10, "frequency": place / 10 * 0.8}
        | {"n": n, "error": layer / 100}
        for scaling in scalings
        for layer in range(5)
        for place, n in ((1, 50), (2, 3), (7, 20), (8, 30))
    ]
    return pd.DataFrame(rows)


def points(axis: Axes, label: str) -> list[tuple[float, float]]:
    """Return all points of the lines of a label, without the noise of sums."""
    lines = [line for line in axis.lines if line.get_label() == label]
    assert lines, [line.get_label() for line in axis.lines]
    both = np.concatenate([np.column_stack([line.get_xdata(), line.get_ydata()]) for line in lines])
    return [(x, y) for x, y in both.round(9).tolist()]


def legend_of(figure: Figure) -> list[str]:
    (axis,) = figure.axes
    return [text.get_text() for text in axis.get_legend().get_texts()]


def test_the_score_on_test_is_drawn_against_the_layers_for_both_fallbacks() -> None:
    figure = draw_exits(exits(), CHOICES, study_curves(), METRIC, "about")
    (axis,) = figure.axes
    assert points(axis, "early exit, else the last layer's answer") == [(1.0, 0.6), (2.5, 0.8), (4.0, 0.9)]
    surest = points(axis, "early exit, else the surest layer's answer")
    assert surest == [(1.0, 0.58), (2.5, 0.78), (4.0, 0.88)]
    bands = [path.vertices[:, 1] for each in axis.collections for path in each.get_paths()]
    assert [(band.min().round(9), band.max().round(9)) for band in bands] == [(0.57, 0.94), (0.55, 0.92)]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("mean number of layers computed", "accuracy on test")


def test_single_layers_are_dots_and_the_last_is_marked() -> None:
    (axis,) = draw_exits(exits(), CHOICES, study_curves(), METRIC, "about").axes
    assert points(axis, "one layer for all proteins") == [(0, 0), (1, 0.125), (2, 0.25), (3, 0.375), (4, 0.5)]
    assert points(axis, "last layer") == [(4, 0.5)]


def test_the_thresholds_that_validation_chose_are_marked_once_in_the_legend() -> None:
    figure = draw_exits(exits(), CHOICES, study_curves(), METRIC, "about")
    (axis,) = figure.axes
    assert points(axis, "chosen: no loss on validation") == [(4.0, 0.9)]
    assert sorted(points(axis, "chosen: best on validation")) == [(2.5, 0.8), (4.0, 0.88)]
    assert legend_of(figure).count("chosen: best on validation") == 1


def test_a_goal_that_nothing_meets_is_not_in_the_legend() -> None:
    figure = draw_exits(exits(), choices(("best", "last", 0.8)), study_curves(), METRIC, "about")
    assert "chosen: no loss on validation" not in legend_of(figure)


def test_time_is_drawn_against_layers_with_the_line_that_the_record_says() -> None:
    figure = draw_seconds(SECONDS, SCALARS, "about")
    (axis,) = figure.axes
    assert points(axis, "measured") == [(0.25, 0.3), (0.5, 0.6), (1.0, 1.0)]
    assert points(axis, "time in step with layers") == [(0, 0), (1, 1)]
    assert points(axis, "fit: 0.90 x + 0.10, $r^2$ = 0.980") == [(0, 0.1), (1, 1.0)]
    assert "share of all" in axis.get_xlabel()
    assert "share of a full pass" in axis.get_ylabel()


def test_without_a_relation_only_the_points_are_drawn() -> None:
    figure = draw_seconds(SECONDS.head(2), dict.fromkeys(SCALARS), "about")
    assert legend_of(figure) == ["time in step with layers", "measured"]


@pytest.mark.parametrize(("unit", "said"), [("nats", "nats"), ("", "share wrong")])
def test_selective_risk_is_drawn_by_layer_with_its_unit(unit: str, said: str) -> None:
    figure = draw_selective(study_curves().assign(unit=unit), "about")
    assert [axis.get_ylabel() for axis in figure.axes] == [f"AURC ({said})", f"excess AURC ({said})"]
    for axis in figure.axes:
        assert axis.lines[0].get_ydata().tolist() == [0, 0.125, 0.25, 0.375, 0.5]


def test_a_line_joins_neighbouring_bins_alone_and_rare_ones_are_hollow() -> None:
    (axis,) = draw_reliability(reliability("plain"), "about").axes
    common = next(line for line in axis.lines if line.get_label() == "layer 4 (ECE 0.040)")
    found = dict(zip(common.get_xdata(), common.get_ydata(), strict=True))
    assert {x: y for x, y in found.items() if not np.isnan(x)} == pytest.approx({0.1: 0.08, 0.7: 0.56, 0.8: 0.64})
    assert [np.isnan(x) for x in common.get_xdata()] == [True, False, *[True] * 5, False, False]
    hollow = [line for line in axis.lines if line.get_fillstyle() == "none"]
    assert {tuple(line.get_xdata()) for line in hollow} == {(0.2,)}


def test_before_and_after_temperatures_stand_side_by_side() -> None:
    figure = draw_reliability(reliability("plain", "scaled"), "about")
    assert [axis.get_title() for axis in figure.axes] == ["as the heads say it", "with temperatures from validation"]


@pytest.mark.parametrize(
    ("n_layers", "expected"), [(1, [1]), (3, [1, 2, 3]), (12, [1, 5, 8, 12]), (33, [1, 12, 22, 33])]
)
def test_a_few_layers_stand_for_all(n_layers: int, expected: list[int]) -> None:
    assert shown_layers(n_layers) == expected


def record_in(folder: Path, share: float | None = None, **scalars: Any) -> Path:
    folder.mkdir(exist_ok=True)
    write_json(folder / "result.json", {"metric": METRIC, "scalars": SCALARS | scalars, "residue_share": share})
    study_curves().to_parquet(folder / "curves.parquet")
    tables = {"exits": exits(), "choices": CHOICES, "seconds": SECONDS, "reliability": reliability("plain")}
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    return folder


def test_all_are_drawn_from_the_files_of_a_record_and_always_the_same(tmp_path: Path) -> None:
    files = write_exit_figures(record_in(tmp_path))
    assert {path.name for path in files} == {
        f"{name}.{ending}" for name in ("exits", "seconds", "selective", "reliability") for ending in ("png", "svg")
    }
    before = [path.read_bytes() for path in files]
    assert [path.read_bytes() for path in write_exit_figures(tmp_path)] == before
    for path in files:
        if path.suffix == ".svg":
            assert "toy (4 layers, 1.5 M)" in path.read_text()


def test_the_figures_of_residues_say_who_leaves_and_what_is_counted(tmp_path: Path) -> None:
    texts = {
        path.stem: path.read_text() for path in write_exit_figures(record_in(tmp_path, 0.8)) if path.suffix == ".svg"
    }
    assert "a protein leaves when 80 % of its residues reach the threshold" in texts["exits"]
    assert {name for name, text in texts.items() if "residue by residue" in text} == {"selective", "reliability"}
    plain = {path.stem: path.read_text() for path in write_exit_figures(record_in(tmp_path)) if path.suffix == ".svg"}
    assert not any("residue" in text for text in plain.values())
