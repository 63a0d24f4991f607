"""Figures show what the table holds, and the same table gives the same file."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from plmdepth.metrics import ablation, erasure, gradients, integrated_gradients, logit_lens, residual
from plmdepth.metrics.quantity import Quantity
from plmdepth.report.figures import draw, draw_matrices, panels_of, write_figures
from plmdepth.report.quantities import shown
from plmdepth.report.style import set_scale


def curves(
    metric: str = "residual", quantity: str = "cosine", components: tuple[str, ...] = ("attention", "mlp")
) -> pd.DataFrame:
    rows = [
        {
            **{"model": "toy", "family": "toy", "parameters": 1_500_000, "n_layers": 4, "objective": "masked"},
            **{"dataset": "demo", "metric": metric, "quantity": quantity, "component": component, "scope": ""},
            **{"layer": layer, "depth": layer / 4, "value": value, "ci_low": value - 0.1, "ci_high": value + 0.2},
            **{"n": 7, "unit": "nats"},
        }
        for number, component in enumerate(components)
        for layer in range(5)
        for value in [layer * 0.5 + number]
    ]
    return pd.DataFrame(rows)


def described(*quantities: Quantity, **more: Any) -> dict[str, Any]:
    """Return what a record says of the curves of one metric."""
    curves = [quantity.described() for quantity in quantities]
    return {quantities[0].metric: {"title": "title", "curves": curves, "matrices": [], "meaningless": {}, **more}}


RESIDUAL = described(*residual.QUANTITIES)


def drawn(table: pd.DataFrame, known: dict[str, Any]) -> Figure:
    return draw(table, "title", panels_of(shown(known, table)))


def lines_of(figure: Figure, ylabel: str) -> dict[str, list[float]]:
    axis = next(axis for axis in figure.axes if axis.get_ylabel() == ylabel)
    return {line.get_label(): list(line.get_ydata()) for line in axis.lines if not line.get_label().startswith("_")}


def test_every_curve_is_drawn_with_its_values_and_band() -> None:
    figure = drawn(curves(), RESIDUAL)
    ylabel = "cosine of contribution and\nits input"
    assert lines_of(figure, ylabel) == {
        "attention": [0.0, 0.5, 1.0, 1.5, 2.0],
        "MLP": [1.0, 1.5, 2.0, 2.5, 3.0],
    }
    axis = next(axis for axis in figure.axes if axis.get_ylabel() == ylabel)
    band = axis.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(-0.1)
    assert band[:, 1].max() == pytest.approx(2.2)


@pytest.mark.parametrize("metric", [ablation, erasure, gradients, integrated_gradients, logit_lens, residual])
def test_every_axis_is_labelled_and_counts_layers_from_the_embedding(metric: Any) -> None:
    quantities: tuple[Quantity, ...] = metric.QUANTITIES
    table = pd.concat([curves(each.metric, each.name, (each.component,)) for each in quantities])
    for axis in drawn(table, described(*quantities)).axes:
        if axis.axison:
            assert axis.get_ylabel()
            assert max(map(len, axis.get_ylabel().splitlines())) <= 26
            assert axis.get_xlabel() == "layer (0 = embedding)"
            assert axis.get_xlim() == (-0.3, 4.3)


def test_curves_of_one_panel_are_drawn_together_and_others_apart() -> None:
    table = pd.concat([curves("erasure", "erasure_effect", (place,)) for place in erasure.PLACES])
    figure = drawn(table, described(*erasure.QUANTITIES))
    assert [list(lines_of(figure, axis.get_ylabel())) for axis in figure.axes] == [["own"], ["neighbours", "rest"]]


@pytest.mark.parametrize(
    ("scale", "values", "found"),
    [
        ("log", [17.0, 0.4, 0.3], "log"),
        ("log", [3.0, 2.0, 1.0], "linear"),
        ("log", [17.0, 0.4, 0.0], "symlog"),
        ("log", [0.0, 0.0], "linear"),
        ("symlog", [4.0, 0.1, -0.02, 0.05], "symlog"),
        ("symlog", [0.2, 0.1, -0.1], "linear"),
        ("linear", [1e6, 1.0], "linear"),
    ],
)
def test_no_value_rules_a_panel_and_ticks_are_plain_numbers(scale: str, values: list[float], found: str) -> None:
    figure = Figure()
    axis = figure.subplots()
    axis.plot(values)
    set_scale(axis, scale)
    assert axis.get_yscale() == found
    figure.draw_without_rendering()
    labels = [label.get_text() for label in axis.get_yticklabels(which="both") if label.get_text()]
    assert len(labels) >= 2
    assert found == "linear" or all("mathdefault" not in label for label in labels)


def test_what_means_nothing_for_a_model_stands_below_its_figure(tmp_path: Path) -> None:
    figure = draw(curves(), "title", panels_of(shown(RESIDUAL, curves())), "ed_cosine means nothing here: why")
    assert figure.get_supxlabel() == "ed_cosine means nothing here: why"
    known = described(*residual.QUANTITIES, meaningless={"ed_cosine": "the norm"})
    write_figures(curves(), {}, tmp_path, known)
    assert "means nothing" in "".join((tmp_path / "residual.svg").read_text().split("<!--")[1:])


def test_lines_differ_in_colour_dash_and_marker() -> None:
    axis = drawn(curves(components=("layer", "attention", "mlp")), RESIDUAL).axes[0]
    looks = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axis.lines[:3]]
    for part in zip(*looks, strict=True):
        assert len(set(part)) == 3


def test_the_same_record_gives_the_same_files(tmp_path: Path) -> None:
    first, second = write_figures(curves(), {}, tmp_path / "a"), write_figures(curves(), {}, tmp_path / "b")
    assert [path.name for path in first] == ["residual.png", "residual.svg"]
    for mine, theirs in zip(first, second, strict=True):
        assert mine.read_bytes() == theirs.read_bytes()


def test_a_metric_without_a_layout_has_a_panel_a_quantity_with_its_unit(tmp_path: Path) -> None:
    table = pd.concat([curves("new", "first_thing"), curves("new", "other")])
    assert [path.name for path in write_figures(table, {}, tmp_path)] == ["new.png", "new.svg"]
    figure = drawn(table, {})
    assert [axis.get_ylabel() for axis in figure.axes] == ["first thing (nats)", "other (nats)"]


def test_a_matrix_counts_layers_from_1_with_the_changed_layer_down(tmp_path: Path) -> None:
    matrix = np.full((4, 4), np.nan)
    matrix[0, 3] = 2.0
    figure = draw_matrices({"effect/layer": matrix, "effect/mlp": matrix}, "title")
    axis = figure.axes[0]
    image = axis.images[0]
    assert image.get_extent() == [0.5, 4.5, 4.5, 0.5]
    assert image.get_array()[0, 3] == 2.0
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("layer measured", "layer intervened on")
    assert len(write_figures(curves(), {"effect/layer": matrix}, tmp_path)) == 4


def test_a_matrix_says_itself_what_its_axes_are_and_where_they_begin() -> None:
    similarity = Quantity("geometry", "cka", "", "similarity", "state", 0, axes=("layer", "layer"))
    known = {"geometry": {"matrices": [similarity.described() | {"first_layer": 0, "axes": list(similarity.axes)}]}}
    figure = draw_matrices({"cka/state": np.eye(5)}, "title", known)
    assert figure.axes[0].images[0].get_extent() == [-0.5, 4.5, 4.5, -0.5]
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("layer", "layer")
    assert figure.axes[1].get_ylabel() == "similarity"


def test_one_outlier_rules_no_heat_map() -> None:
    matrix = np.ones((10, 10))
    matrix[0, 0] = 100.0
    assert draw_matrices({"effect/layer": matrix}, "title").axes[0].images[0].get_clim() == (0, 3)
