"""The figure of a probe shows the table of its layers."""

from pathlib import Path

import pytest

from plmdepth.report.figures import Panel, draw
from plmdepth.report.probe_figure import probe_rows, write_probe_figure
from plmdepth.results.atomic import write_json
from tests.report.test_figures import curves, lines_of
from tests.report.test_ranking import layers


def test_every_split_is_a_line_over_the_layers_in_order() -> None:
    table = layers(n_layers=4).iloc[::-1]
    rows = probe_rows(table, "f1_max").assign(n_layers=4)
    panels = (Panel(("f1_max",), "score", None), Panel(("difference_to_last",), "difference", None, 0.0))
    figure = draw(rows, "title", panels)
    by_layer = table.set_index("layer").sort_index()
    for label, column in (("score", "f1_max"), ("difference", "difference_to_last")):
        assert lines_of(figure, label) == {split: by_layer[f"{split}_{column}"].tolist() for split in ("valid", "test")}
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(table["valid_f1_max_low"].min())
    assert band[:, 1].max() == pytest.approx(table["valid_f1_max_high"].max())
    assert next(line.get_ydata() for line in figure.axes[1].lines if line.get_label().startswith("_")) == [0, 0]


def test_it_is_drawn_from_the_files_of_a_record_and_always_the_same(tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", {"task": {"metric": "f1_max"}})
    curves().to_parquet(tmp_path / "curves.parquet")
    layers(n_layers=4).to_csv(tmp_path / "layers.csv", index=False)
    files = write_probe_figure(tmp_path)
    assert files == [tmp_path / "figures" / "probe.png", tmp_path / "figures" / "probe.svg"]
    before = [path.read_bytes() for path in files]
    assert [path.read_bytes() for path in write_probe_figure(tmp_path)] == before
    text = files[1].read_text()
    for words in ("f1 max", "difference to the last layer", "layer (0 = embedding)", "valid", "test"):
        assert f"<!-- {words} -->" in text
