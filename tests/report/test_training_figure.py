"""The losses of every layer by epoch, on train and on validation, ordered by depth."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from plmdepth.report.training_figure import draw_training, write_training_figure
from tests.report.test_figures import curves

EPOCHS, LAYERS = range(4), (0, 2, 4)


def history(factor: float = 1.0) -> pd.DataFrame:
    """Return losses that fall on train; on validation, layer 4 is at its best in epoch 1 and the others in the last."""
    return pd.DataFrame(
        [
            {
                **{"epoch": epoch, "layer": layer, "train/loss": 3.0 - factor * (epoch + layer / 10)},
                "val/loss": 3.2 - factor * (2 - abs(epoch - 1) if layer == 4 else epoch / 2),
            }
            for epoch in EPOCHS
            for layer in LAYERS
        ]
    )


def panel(figure: Figure, word: str) -> Axes:
    (axis,) = (axis for axis in figure.axes if word in axis.get_ylabel().split())
    return axis


@pytest.mark.parametrize(("word", "column"), [("train", "train/loss"), ("validation", "val/loss")])
def test_every_layer_is_a_line_over_the_epochs_in_order(word: str, column: str) -> None:
    axis = panel(draw_training(history().iloc[::-1], ""), word)
    by_layer = history().set_index("epoch")
    assert [line.get_label() for line in axis.lines] == ["layer 0", "layer 2", "layer 4"]
    for line, layer in zip(axis.lines, LAYERS, strict=True):
        assert list(line.get_xdata()) == list(EPOCHS)
        assert list(line.get_ydata()) == by_layer[by_layer["layer"] == layer][column].tolist()


def test_deeper_layers_are_darker_and_the_bar_says_which_is_which() -> None:
    figure = draw_training(history(), "")
    lightness = [sum(to_rgb(line.get_color())) for line in panel(figure, "train").lines]
    assert lightness == sorted(lightness, reverse=True)
    assert panel(figure, "layer").get_ylim() == (0, 4)


def test_a_dot_stands_at_the_lowest_loss_of_each_layer_on_validation_alone() -> None:
    figure = draw_training(history(), "")
    (dots,) = panel(figure, "validation").collections
    assert np.asarray(dots.get_offsets())[:, 0].tolist() == [3, 3, 1]
    lines = [tuple(line.get_color()) for line in panel(figure, "validation").lines]
    assert [tuple(colour) for colour in dots.get_facecolors()] == lines  # type: ignore[attr-defined]
    assert not panel(figure, "train").collections


@pytest.mark.parametrize(("factor", "scale"), [(0.3, "linear"), (0.88, "log"), (1.1, "linear")])
def test_losses_that_span_much_are_on_a_logarithmic_axis_if_they_can_be(factor: float, scale: str) -> None:
    figure = draw_training(history(factor), "")  # at 1.1 the lowest loss is below 0
    assert {panel(figure, word).get_yscale() for word in ("train", "validation")} == {scale}


def test_one_epoch_one_layer_and_an_undefined_loss_are_drawn(tmp_path: Path) -> None:
    curves().to_parquet(tmp_path / "curves.parquet")
    short = history()[lambda table: (table["epoch"] == 0) & (table["layer"] == 2)]
    unsound = history()
    unsound.loc[unsound["layer"] == 4, "val/loss"] = float("nan")
    for table in (short, unsound):
        table.to_parquet(tmp_path / "history.parquet")
        assert all(path.stat().st_size for path in write_training_figure(tmp_path))


def test_it_is_drawn_from_the_files_of_a_record_and_always_the_same(tmp_path: Path) -> None:
    curves().to_parquet(tmp_path / "curves.parquet")
    history().to_parquet(tmp_path / "history.parquet")
    files = write_training_figure(tmp_path)
    assert files == [tmp_path / "figures" / "training.png", tmp_path / "figures" / "training.svg"]
    before = [path.read_bytes() for path in files]
    assert [path.read_bytes() for path in write_training_figure(tmp_path)] == before
    for words in ("epoch", "loss on train (nats)", "loss on validation (nats)", "layer (0 = embedding)"):
        assert f"<!-- {words} -->" in files[1].read_text()
