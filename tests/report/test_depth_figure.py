"""The figure of effective depths says what the record says."""

from pathlib import Path

import pytest
from matplotlib.axes import Axes

from plmdepth.report.depth_figure import DEFINITIONS, draw_depths, write_depth_figure
from tests.report.test_figures import curves

SCALARS = {"ed_kl": 3.0, "ed_kl_depth": 0.75, "ed_cosine": None, "ed_cosine_depth": None}
INTERVALS = {"ed_kl_depth": {"low": 0.5, "high": 1.0}, "ed_kl": {"low": 2.0, "high": 4.0}}


def drawn(depths: dict[str, tuple[float | None, dict[str, float] | None]]) -> Axes:
    figure = draw_depths(depths, 4, "title")
    figure.draw_without_rendering()
    return figure.axes[0]


def test_a_definition_is_a_row_with_its_dot_and_interval() -> None:
    axis = drawn({"ed_kl": (0.75, {"low": 0.5, "high": 1.0}), "ed_skip": (0.25, None)})
    bar, first, second = axis.lines
    assert (list(bar.get_xdata()), list(bar.get_ydata())) == ([0.5, 1.0], [0, 0])
    assert (list(first.get_xdata()), list(first.get_ydata())) == ([0.75], [0])
    assert (list(second.get_xdata()), list(second.get_ydata())) == ([0.25], [1])  # no interval, no bar
    low, high = axis.get_ylim()
    assert low > high  # the first row is on top


def test_rows_are_named_in_words_and_by_their_scalar() -> None:
    axis = drawn(dict.fromkeys([*DEFINITIONS, "ed_new"], (0.5, None)))
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert [label.split("(")[-1] for label in labels] == [*(f"{name})" for name in DEFINITIONS), "ed_new)"]
    assert labels[-1] == "(ed_new)"


def test_what_is_undefined_is_said_and_has_no_dot() -> None:
    axis = drawn({"ed_cosine": (None, None), "ed_new": (None, None)})
    assert [text.get_text() for text in axis.texts] == ["undefined: no layer turns", "undefined"]
    assert not axis.lines


def test_the_axis_runs_over_the_whole_depth_below_and_over_the_layers_above() -> None:
    axis = drawn({"ed_kl": (0.75, None)})
    assert axis.get_xlim() == pytest.approx((-0.05, 1.05))
    (above,) = axis.child_axes
    assert above.get_xlim() == pytest.approx((-0.2, 4.2))
    assert "layer" in above.get_xlabel()


def test_shares_of_the_depth_are_drawn_and_the_same_record_gives_the_same_files(tmp_path: Path) -> None:
    first, second = (write_depth_figure(SCALARS, INTERVALS, curves(), tmp_path / name) for name in "ab")
    assert [path.name for path in first] == ["effective_depth.png", "effective_depth.svg"]
    for mine, theirs in zip(first, second, strict=True):
        assert mine.read_bytes() == theirs.read_bytes()
    text = first[1].read_text()
    assert "<!-- 0.75 -->" in text
    assert "<!-- undefined: no layer turns -->" in text
    assert "toy (4 layers, 1.5 M), 7 proteins of demo; bars: 95 % intervals" in text
