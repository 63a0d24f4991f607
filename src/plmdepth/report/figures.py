"""Figures of a record: one per metric and one of its matrices, drawn from the record and from nothing else."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from plmdepth.report.head_figure import RATIO_COUNTS, draw_heads, draw_ratio_counts, has_heads
from plmdepth.report.quantities import Quantities, Shown, matrix_of, meaningless, shown, title_of
from plmdepth.report.scope_figure import draw_scopes
from plmdepth.report.style import COLOURS, STYLE, overall, save, set_scale, subtitle, wrapped

_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v")
_OUTLIER = 3  # times the 95th percentile: what is above rules no heat map


@dataclass(frozen=True)
class Panel:
    """One axes: which curves it shows and what its axis says.

    Attributes:
        quantities: names of the quantities drawn together.
        label: the value axis, with its unit.
        floor: where a linear axis begins, None to let the data decide.
        reference: a value worth a thin line.
        components: the components that are drawn, None for all.
        scale: of the value axis, as `set_scale`.
    """

    quantities: tuple[str, ...]
    label: str
    floor: float | None = 0.0
    reference: float | None = None
    components: tuple[str, ...] | None = None
    scale: str = "linear"


def write_figures(
    curves: pd.DataFrame, matrices: Mapping[str, np.ndarray], folder: Path, quantities: Quantities | None = None
) -> list[Path]:
    """Draw every figure for which the table holds curves, as PNG and SVG.

    Args:
        curves: the curves of one cell.
        matrices: its matrices over pairs of layers, by ``<quantity>/<component>``.
        folder: where the files go; made if need be.
        quantities: what its result says of its quantities; without, curves go by their names.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = quantities or {}
    written = []
    scoped, curves = curves[curves["scope"] != ""], overall(curves)
    for metric, rows in scoped.groupby("metric", sort=False):
        written += save(draw_scopes(rows, known), folder / f"{metric}_by_scope")
    for metric, rows in curves.groupby("metric", sort=False):
        name = str(metric)
        if has_heads(rows):
            title = f"{name.replace('_', ' ').capitalize()}: heads (dots) and their mean\n{subtitle(rows)}"
            written += save(draw_heads(rows, title), folder / name)
            continue
        title = f"{title_of(known, name)}\n{subtitle(rows)}; bands: 95 % intervals"
        reasons = meaningless({name: known.get(name, {})}).items()
        note = "\n".join(fill(f"{scalar} means nothing here: {why}", 90) for scalar, why in reasons)
        written += save(draw(rows, title, panels_of(shown(known, rows)), note), folder / name)
    if RATIO_COUNTS in matrices:
        title = f"What heads read: position (above 1) or keys (below)\n{subtitle(curves)}"
        written += save(draw_ratio_counts([("", matrices[RATIO_COUNTS])], title), folder / "ratio_by_layer")
    matrices = {name: matrix for name, matrix in matrices.items() if name != RATIO_COUNTS}
    if matrices:
        title = f"Pairs of layers\n{subtitle(curves)}"
        written += save(draw_matrices(matrices, title, known), folder / "matrices")
    return written


def panels_of(curves: Mapping[tuple[str, str], Shown]) -> tuple[Panel, ...]:
    """Return a panel for every label of a value axis, with all curves that share it."""
    labels = dict.fromkeys(each.panel for each in curves.values())
    return tuple(_panel(label, {key: each for key, each in curves.items() if each.panel == label}) for label in labels)


def _panel(label: str, curves: Mapping[tuple[str, str], Shown]) -> Panel:
    first = next(iter(curves.values()))
    floor = 0.0 if first.low is not None and first.low >= 0 else None
    names, components = (tuple(dict.fromkeys(key[part] for key in curves)) for part in (0, 1))
    return Panel(names, label, floor, None if floor is not None else 0.0, components, first.scale)


def draw_matrices(matrices: Mapping[str, np.ndarray], title: str, quantities: Quantities | None = None) -> Figure:
    """Draw matrices over pairs of layers as heat maps side by side; blank where undefined."""
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        n_rows, n_columns = -(-len(matrices) // 3), min(3, len(matrices))
        figure = Figure(figsize=(3.3 * max(2, n_columns), 2.9 * n_rows + 0.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        for axis in axes[len(matrices) :]:
            axis.set_axis_off()
        for axis, (name, matrix) in zip(axes, matrices.items(), strict=False):
            _draw_matrix(axis, name, matrix, matrix_of(quantities or {}, name))
        figure.suptitle(title, fontsize=10)
    return figure


def _colours(matrix: np.ndarray) -> tuple[dict[str, Any], str]:
    """Return a scale from 0 for sizes, or one centred on 0 for values of both signs, and where values exceed it."""
    known = matrix[np.isfinite(matrix)]
    sizes = np.abs(known)
    largest = float(sizes.max(initial=0)) or 1.0
    most = min(largest, _OUTLIER * float(np.percentile(sizes, 95)) or largest) if len(sizes) else 1.0
    if (known < 0).any():
        return {"cmap": "PuOr", "vmin": -most, "vmax": most}, "both" if most < largest else "neither"
    return {"cmap": "cividis", "vmin": 0, "vmax": most}, "max" if most < largest else "neither"


def _draw_matrix(axis: Axes, name: str, matrix: np.ndarray, known: Mapping[str, Any]) -> None:
    quantity, _, component = name.partition("/")
    matrix = matrix[
        :, : int(np.isfinite(matrix).any(0).nonzero()[0].max(initial=0)) + 1
    ]  # to the last that has a value
    first = known.get("first_layer", 1)
    edges = (first - 0.5, first + matrix.shape[1] - 0.5, first + matrix.shape[0] - 0.5, first - 0.5)
    scale, beyond = _colours(matrix)
    image = axis.imshow(matrix, extent=edges, interpolation="nearest", aspect="auto", **scale)
    label = known.get("panel", quantity.replace("_", " "))
    axis.figure.colorbar(image, ax=axis, shrink=0.9, label=wrapped(label, 30), extend=beyond)
    axis.set_title(_part(component), fontsize=9)
    down, across = known.get("axes", ("layer intervened on", "layer measured"))
    axis.set_xlabel(across)
    axis.set_ylabel(down)
    for ticks in (axis.xaxis, axis.yaxis):
        ticks.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def draw(rows: pd.DataFrame, title: str, panels: Iterable[Panel], note: str = "") -> Figure:
    """Draw the panels of one figure, two in a row, over layers 0..L; a note stands below."""
    panels = tuple(panels)
    with mpl.rc_context(STYLE):
        n_rows, n_columns = (len(panels) + 1) // 2, min(2, len(panels))
        figure = Figure(figsize=(max(6.6, 3.6 * n_columns), 2.5 * n_rows + 0.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        for axis, panel in zip(axes, panels, strict=False):
            _draw_panel(axis, rows, panel)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        figure.suptitle(title, fontsize=10)
        if note:
            figure.supxlabel(note, fontsize=8, color="#555555")
    return figure


def _draw_panel(axis: Axes, rows: pd.DataFrame, panel: Panel) -> None:
    drawn = rows[rows["quantity"].isin(panel.quantities)]
    if panel.components is not None:
        drawn = drawn[drawn["component"].isin(panel.components)]
    drawn = drawn.dropna(subset=["value"])  # a line joins the layers that were measured
    lines = list(drawn.groupby(["quantity", "component"], sort=False))
    for number, ((quantity, component), line) in enumerate(lines):
        index = number % len(COLOURS)
        name = _line_name(str(quantity), str(component), panel)
        axis.plot(
            line["layer"],
            line["value"],
            label=name,
            color=COLOURS[index],
            linestyle=_DASHES[index],
            marker=_MARKERS[index],
            markersize=3.5,
            linewidth=1.3,
        )
        axis.fill_between(line["layer"], line["ci_low"], line["ci_high"], color=COLOURS[index], alpha=0.2, linewidth=0)
    set_scale(axis, panel.scale)
    if panel.reference is not None:
        axis.axhline(panel.reference, color="#777777", linewidth=0.8)
    if panel.floor is not None and axis.get_yscale() != "log":
        top = float(drawn["value"].max()) if len(drawn) else 0.0
        above = panel.floor + 1.05 * (top - panel.floor)  # a level line, too, lies below the frame
        axis.set_ylim(panel.floor, max(axis.get_ylim()[1], above) if above > panel.floor else None)
    if len(lines) > 1:
        axis.legend(fontsize=8)
    axis.set_xlim(-0.3, rows["n_layers"].iloc[0] + 0.3)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("layer (0 = embedding)")
    axis.set_ylabel(wrapped(panel.label))


def _line_name(quantity: str, component: str, panel: Panel) -> str:
    if len(panel.quantities) == 1:
        return _part(component) or quantity.replace("_", " ")
    return f"{quantity.replace('_', ' ')} {_part(component)}".strip()


def _part(component: str) -> str:
    """Return a component as it is written.

    >>> _part("mlp"), _part("head_3")
    ('MLP', 'head 3')
    """
    return "MLP" if component == "mlp" else component.replace("_", " ")
