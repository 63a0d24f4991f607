"""Figures show what the table holds, and the same table gives the same file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from plmdepth.report.figures import FIGURES, _plain_figure, draw, draw_matrices, write_figures


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


def lines_of(figure: Figure, ylabel: str) -> dict[str, list[float]]:
    axis = next(axis for axis in figure.axes if axis.get_ylabel() == ylabel)
    return {line.get_label(): list(line.get_ydata()) for line in axis.lines if not line.get_label().startswith("_")}


def test_every_curve_is_drawn_with_its_values_and_band() -> None:
    title, panels = FIGURES["residual"]
    figure = draw(curves(), title, panels)
    ylabel = "cosine of contribution and its input"
    assert lines_of(figure, ylabel) == {
        "attention": [0.0, 0.5, 1.0, 1.5, 2.0],
        "mlp": [1.0, 1.5, 2.0, 2.5, 3.0],
    }
    axis = next(axis for axis in figure.axes if axis.get_ylabel() == ylabel)
    band = axis.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(-0.1)
    assert band[:, 1].max() == pytest.approx(2.2)


def test_every_axis_is_labelled_and_counts_layers_from_the_embedding() -> None:
    for title, panels in FIGURES.values():
        for axis in draw(curves(), title, panels).axes:
            if axis.axison:
                assert axis.get_ylabel()
                assert axis.get_xlabel() == "layer (0 = embedding)"
                assert axis.get_xlim() == (-0.3, 4.3)


def test_lines_differ_in_colour_dash_and_marker() -> None:
    title, panels = FIGURES["residual"]
    axis = draw(curves(components=("layer", "attention", "mlp")), title, panels).axes[2]
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
    figure = draw(table, *_plain_figure("new", table))
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
