"""The figure of a probe shows the table of its layers."""

from pathlib import Path
from typing import Any

import pytest

from plmdepth.report.figures import Panel, draw
from plmdepth.report.probe_figure import draw_composition, probe_rows, write_probe_figure, write_probe_figures
from plmdepth.report.style import wrapped
from plmdepth.results.atomic import write_json
from tests.report.test_figures import curves, lines_of
from tests.report.test_ranking import layers
from tests.report.test_training_figure import history

SPLITS = ["valid", "test"]
PANELS = (Panel(("f1_max",), "score", None), Panel(("difference_to_last",), "difference", None, 0.0))


def write_record(folder: Path, scalars: dict[str, Any]) -> None:
    write_json(folder / "result.json", {"task": {"metric": "f1_max"}, "scalars": scalars})
    curves().assign(n_layers=4).to_parquet(folder / "curves.parquet")
    layers(n_layers=4).query("layer <= 4").to_csv(folder / "layers.csv", index=False)


def test_every_split_is_a_line_over_the_layers_in_order() -> None:
    table = layers(n_layers=4).iloc[::-1]
    rows = probe_rows(table, "f1_max").assign(n_layers=4)
    figure = draw(rows, "title", PANELS)
    by_layer = table.set_index("layer").sort_index()
    for label, column in (("score", "f1_max"), ("difference", "difference_to_last")):
        assert lines_of(figure, label) == {split: by_layer[f"{split}_{column}"].tolist() for split in ("valid", "test")}
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(table["valid_f1_max_low"].min())
    assert band[:, 1].max() == pytest.approx(table["valid_f1_max_high"].max())
    assert next(line.get_ydata() for line in figure.axes[1].lines if line.get_label().startswith("_")) == [0, 0]


def test_it_is_drawn_from_the_files_of_a_record_and_always_the_same(tmp_path: Path) -> None:
    write_record(tmp_path, {"test_f1_max_composition": 0.4})
    files = write_probe_figure(tmp_path)
    assert files == [tmp_path / "figures" / "probe.png", tmp_path / "figures" / "probe.svg"]
    before = [path.read_bytes() for path in files]
    assert [path.read_bytes() for path in write_probe_figure(tmp_path)] == before
    text = files[1].read_text()
    for words in (
        "f1 max",
        "difference to the last layer",
        "layer (0 = embedding)",
        "valid",
        "test",
        "composition, test",
    ):
        assert all(f"<!-- {line} -->" in text for line in wrapped(words).splitlines())


def test_the_layer_that_the_others_are_compared_with_is_named_where_it_is_not_the_last(tmp_path: Path) -> None:
    write_record(tmp_path, {})
    curves().assign(n_layers=12).to_parquet(tmp_path / "curves.parquet")
    assert "<!-- difference to layer 4 -->" in write_probe_figure(tmp_path)[1].read_text()


def test_a_record_that_knows_nothing_of_composition_is_drawn_without_it(tmp_path: Path) -> None:
    write_record(tmp_path, {})
    assert "composition" not in write_probe_figure(tmp_path)[1].read_text()


def test_composition_is_a_line_across_the_scores_in_the_colour_of_its_split() -> None:
    axis = draw(probe_rows(layers(n_layers=4), "f1_max").assign(n_layers=4), "", PANELS).axes[0]
    draw_composition(axis, {"test_f1_max_composition": 0.4, "valid_f1_max_composition": 0.5}, "f1_max", SPLITS)
    lines = {line.get_label(): line for line in axis.lines}
    assert set(lines["composition, test"].get_ydata()) == {0.4}
    assert lines["composition, test"].get_color() == lines["test"].get_color() != lines["valid"].get_color()
    assert axis.get_ylim()[0] < 0.4
    draw_composition(axis, {"valid_f1_max_composition": 0.5}, "f1_max", SPLITS)
    assert len(axis.lines) == len(lines)


def test_a_probe_leaves_both_figures(tmp_path: Path) -> None:
    write_record(tmp_path, {})
    history().to_parquet(tmp_path / "history.parquet")
    names = {path.name for path in write_probe_figures(tmp_path)}
    assert names == {"probe.png", "probe.svg", "training.png", "training.svg"}
