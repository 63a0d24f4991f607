"""The figure of ``metric=effective_depth``: every definition on one axis of depth."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from plmdepth.report.quantities import Quantities, meaningless
from plmdepth.report.style import COLOURS, STYLE, save, subtitle


class Definition(NamedTuple):
    """What a row of the figure says."""

    label: str
    undefined: str


DEFINITIONS = {
    "ed_kl": Definition("half of the distance to the\nfinal prediction is covered", "never covered"),
    "ed_overlap": Definition("more than a fifth of the\nfinal top-5 is found", "never found"),
    "ed_cosine": Definition("layers turn from erasing\nto writing for the last time", "no layer turns"),
    "ed_skip": Definition("centre of the layers\nthat others build on", "no layer changes a later one"),
}
_UNKNOWN = Definition("", "")


def write_depth_figure(
    scalars: Mapping[str, float | None],
    intervals: Mapping[str, Mapping[str, float] | None],
    curves: pd.DataFrame,
    folder: Path,
    quantities: Quantities | None = None,
) -> list[Path]:
    """Draw the effective depths of a record as ``effective_depth.png`` and ``.svg``.

    Args:
        scalars: its scalars; those that are drawn are given as a layer and, divided by L, as ``<name>_depth``.
        intervals: their 95 % intervals.
        curves: its curves, for what the title says.
        folder: where the files go; made if need be.
        quantities: what the result says of its quantities, and which scalars mean nothing.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for name in scalars if f"{name}_depth" in scalars]
    depths = {name: (scalars[f"{name}_depth"], intervals.get(f"{name}_depth")) for name in names}
    title = f"How deep the model works, by each definition\n{subtitle(curves)}; bars: 95 % intervals"
    reasons = meaningless(quantities or {})
    return save(draw_depths(depths, int(curves["n_layers"].iloc[0]), title, reasons), folder / "effective_depth")


def draw_depths(
    depths: Mapping[str, tuple[float | None, Mapping[str, float] | None]],
    n_layers: int,
    title: str,
    reasons: Mapping[str, str] | None = None,
) -> Figure:
    """Draw one row a definition, the first on top; values and intervals are shares of the depth.

    ``reasons`` says, by definition, why it means nothing for the model.
    """
    with mpl.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(6.6, 1.5 + 0.55 * len(depths)), layout="constrained")
        FigureCanvasAgg(figure)
        axis = figure.subplots()
        for row, (name, (value, interval)) in enumerate(depths.items()):
            definition = DEFINITIONS.get(name, _UNKNOWN)
            if name in (reasons or {}):
                definition = definition._replace(undefined=(reasons or {})[name].partition(",")[0])
            _draw_row(axis, row, value, interval, definition)
        _label(axis, list(depths), n_layers)
        figure.suptitle(title, fontsize=10)
    return figure


def _draw_row(
    axis: Axes, row: int, value: float | None, interval: Mapping[str, float] | None, definition: Definition
) -> None:
    if value is None:
        axis.text(
            0, row, f"undefined: {definition.undefined}".rstrip(": "), va="center", style="italic", color="#555555"
        )
        return
    if interval is not None:
        axis.plot([interval["low"], interval["high"]], [row, row], color=COLOURS[2], linewidth=3, solid_capstyle="butt")
    axis.plot([value], [row], marker="o", color=COLOURS[0], markersize=6, linestyle="")
    axis.annotate(f"{value:.2f}", (value, row), (0, 6), textcoords="offset points", ha="center", fontsize=8)


def _label(axis: Axes, names: list[str], n_layers: int) -> None:
    """Label the rows, the depth below and the layers above."""
    labels = [f"{DEFINITIONS.get(name, _UNKNOWN).label} ({name})".strip() for name in names]
    axis.set_yticks(range(len(names)), labels, fontsize=8)
    axis.set_ylim(len(names) - 0.5, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.set_xlim(-0.05, 1.05)
    axis.set_xlabel("depth (layer / number of layers)")
    layers = axis.secondary_xaxis("top", functions=(partial(np.multiply, n_layers), partial(np.multiply, 1 / n_layers)))
    layers.xaxis.set_major_locator(MaxNLocator(integer=True))
    layers.set_xlabel("layer (0 = embedding)")
