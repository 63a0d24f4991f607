"""Figures of a record: one per quantity family, drawn from the curves table and from nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from plmdepth.report.head_figure import RATIO_COUNTS, draw_heads, draw_ratio_counts, has_heads
from plmdepth.report.scope_figure import draw_scopes
from plmdepth.report.style import COLOURS, STYLE, overall, save, subtitle

_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v")


@dataclass(frozen=True)
class Panel:
    """One axes: which curves it shows and what its axis says.

    Attributes:
        quantities: names of the quantities drawn together.
        label: the value axis, with its unit.
        floor: where the axis begins, None to let the data decide.
        reference: a value worth a thin line.
        components: the components that are drawn, None for all.
        scale: of the value axis.
    """

    quantities: tuple[str, ...]
    label: str
    floor: float | None = 0.0
    reference: float | None = None
    components: tuple[str, ...] | None = None
    scale: Literal["linear", "log"] = "linear"


FIGURES: dict[str, tuple[str, tuple[Panel, ...]]] = {
    "logit_lens": (
        "What the model would predict if it stopped at a layer",
        (
            Panel(("kl_to_final",), "KL to the final prediction (nats)"),
            Panel(("top1_overlap", "top5_overlap"), "overlap with the final prediction"),
            Panel(("cross_entropy", "entropy"), "nats per residue"),
            Panel(("accuracy",), "share of residues predicted right"),
        ),
    ),
    "layer_skip": (
        "What the prediction loses when a layer adds nothing",
        (Panel(("output_effect",), "change of the prediction"),),
    ),
    "ablation": (
        "What it costs to change the stack at a layer",
        (
            Panel(("delta_cross_entropy",), "change of the loss (nats per residue)", None, 0.0),
            Panel(("delta_accuracy",), "change of the accuracy", None, 0.0),
            Panel(("perplexity",), "perplexity", None, scale="log"),
        ),
    ),
    "gradients": (
        "How strongly the loss depends on the state after a layer",
        (
            Panel(("gradient_norm",), "gradient (nats per unit)", None, scale="log"),
            Panel(("relative_gradient",), "gradient / norm (nats / unit^2)", None, scale="log"),
            Panel(("gradient_times_norm",), "gradient x norm (nats)"),
        ),
    ),
    "erasure": (
        "Until which layer a residue matters to predictions",
        (
            Panel(("erasure_effect",), "change of its own prediction", components=("own",)),
            Panel(("erasure_effect",), "change of other predictions", components=("neighbours", "rest")),
        ),
    ),
    "residual": (
        "What each layer adds to the residual stream",
        (
            Panel(("norm",), "norm of the state"),
            Panel(("relative_contribution",), "contribution / its input"),
            Panel(("cosine",), "cosine of contribution and its input", floor=None, reference=0.0),
            Panel(("angular_distance",), "angle to the state before (share of pi)"),
        ),
    ),
}


_MATRIX_AXES = {"block": ("layers dropped", "first layer dropped")}


def write_figures(curves: pd.DataFrame, matrices: Mapping[str, np.ndarray], folder: Path) -> list[Path]:
    """Draw every figure for which the table holds curves, as PNG and SVG.

    Args:
        curves: the curves of one cell.
        matrices: its matrices over pairs of layers, by ``<quantity>/<component>``.
        folder: where the files go; made if need be.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    scoped, curves = curves[curves["scope"] != ""], overall(curves)
    for metric, rows in scoped.groupby("metric", sort=False):
        written += save(draw_scopes(rows), folder / f"{metric}_by_scope")
    for metric, rows in curves.groupby("metric", sort=False):
        if has_heads(rows):
            title = f"{str(metric).replace('_', ' ').capitalize()}: heads (dots) and their mean\n{subtitle(rows)}"
            written += save(draw_heads(rows, title), folder / str(metric))
            continue
        title, panels = FIGURES.get(str(metric)) or _plain_figure(str(metric), rows)
        title = f"{title}\n{subtitle(rows)}; bands: 95 % intervals"
        written += save(draw(rows, title, _in_units_of(panels, rows)), folder / str(metric))
    if RATIO_COUNTS in matrices:
        title = f"What heads read: position (above 1) or keys (below)\n{subtitle(curves)}"
        written += save(draw_ratio_counts([("", matrices[RATIO_COUNTS])], title), folder / "ratio_by_layer")
    matrices = {name: matrix for name, matrix in matrices.items() if name != RATIO_COUNTS}
    if matrices:
        title = f"Pairs of layers\n{subtitle(curves)}"
        written += save(draw_matrices(matrices, title), folder / "matrices")
    return written


def _in_units_of(panels: Sequence[Panel], rows: pd.DataFrame) -> tuple[Panel, ...]:
    """Return panels whose labels say token instead of residue where the curves are per token."""
    word = "token" if rows["unit"].str.endswith("/token").any() else "residue"
    return tuple(replace(panel, label=panel.label.replace("residue", word)) for panel in panels)


def _plain_figure(metric: str, rows: pd.DataFrame) -> tuple[str, tuple[Panel, ...]]:
    """Return a figure for a metric that has no layout of its own: a panel a quantity."""
    units = rows.drop_duplicates("quantity").set_index("quantity")["unit"]
    labels = {str(name): str(name).replace("_", " ") + (f" ({unit})" if unit else "") for name, unit in units.items()}
    panels = tuple(Panel((name,), label, floor=None, reference=0.0) for name, label in labels.items())
    return metric.replace("_", " ").capitalize(), panels


def draw_matrices(matrices: Mapping[str, np.ndarray], title: str) -> Figure:
    """Draw matrices over pairs of layers as heat maps side by side; blank where undefined."""
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        n_rows, n_columns = -(-len(matrices) // 3), min(3, len(matrices))
        figure = Figure(figsize=(3.3 * max(2, n_columns), 2.9 * n_rows + 0.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        for axis in axes[len(matrices) :]:
            axis.set_axis_off()
        for axis, (name, matrix) in zip(axes, matrices.items(), strict=False):
            _draw_matrix(axis, name, matrix)
        figure.suptitle(title, fontsize=10)
    return figure


def _colours(matrix: np.ndarray) -> dict[str, Any]:
    """Return a scale from 0 for sizes, and one centred on 0 for values of both signs."""
    known = matrix[np.isfinite(matrix)]
    largest = float(np.abs(known).max(initial=0)) or 1.0
    if (known < 0).any():
        return {"cmap": "PuOr", "vmin": -largest, "vmax": largest}
    return {"cmap": "cividis", "vmin": 0, "vmax": largest}


def _draw_matrix(axis: Axes, name: str, matrix: np.ndarray) -> None:
    quantity, _, component = name.partition("/")
    if component in _MATRIX_AXES:
        matrix = matrix[:, : np.isfinite(matrix).any(0).sum()]  # up to the longest block that was dropped
    edges = (0.5, matrix.shape[1] + 0.5, matrix.shape[0] + 0.5, 0.5)
    image = axis.imshow(matrix, extent=edges, interpolation="nearest", aspect="auto", **_colours(matrix))
    axis.figure.colorbar(image, ax=axis, shrink=0.8, label=quantity.replace("_", " "))
    axis.set_title(component, fontsize=9)
    across, down = _MATRIX_AXES.get(component, ("layer measured", "layer intervened on"))
    axis.set_xlabel(across)
    axis.set_ylabel(down)
    for ticks in (axis.xaxis, axis.yaxis):
        ticks.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def draw(rows: pd.DataFrame, title: str, panels: Iterable[Panel]) -> Figure:
    """Draw the panels of one figure, two in a row, over layers 0..L."""
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
    return figure


def _draw_panel(axis: Axes, rows: pd.DataFrame, panel: Panel) -> None:
    shown = rows[rows["quantity"].isin(panel.quantities)]
    if panel.components is not None:
        shown = shown[shown["component"].isin(panel.components)]
    shown = shown.dropna(subset=["value"])  # a line joins the layers that were measured
    lines = list(shown.groupby(["quantity", "component"], sort=False))
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
    if panel.reference is not None:
        axis.axhline(panel.reference, color="#777777", linewidth=0.8)
    axis.set_yscale(panel.scale)
    if panel.floor is not None:
        axis.set_ylim(bottom=panel.floor)
    if len(lines) > 1:
        axis.legend(fontsize=8)
    axis.set_xlim(-0.3, rows["n_layers"].iloc[0] + 0.3)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("layer (0 = embedding)")
    axis.set_ylabel(panel.label)


def _line_name(quantity: str, component: str, panel: Panel) -> str:
    if len(panel.quantities) == 1:
        return component or quantity.replace("_", " ")
    return quantity.replace("_overlap", "").replace("top", "top-").replace("_", " ")
