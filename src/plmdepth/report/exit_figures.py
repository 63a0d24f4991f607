"""The figures of early exit: what it costs the task and gains in time, and how far the heads know what they know."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from plmdepth.report.figures import Panel, draw
from plmdepth.report.style import COLOURS, STYLE, save, signed, subtitle
from plmdepth.results.atomic import read_json

_GREY = "#777777"
_FALLBACKS = {"last": "else the last layer's answer", "most_confident": "else the surest layer's answer"}
_GOALS: dict[str, tuple[str, dict[str, Any]]] = {
    "no_loss": ("chosen: no loss on validation", {"marker": "D", "markersize": 9, "fillstyle": "none"}),
    "best": ("chosen: best on validation", {"marker": "*", "markersize": 9}),
}
_SCALINGS = {"plain": "as the heads say it", "scaled": "with temperatures from validation"}
_SHOWN_LAYERS = 4
_RULE = "\na protein leaves when {:.4g} % of its residues reach the threshold"
_RARE = 10  # predictions in a bin; below, its frequency says little


def write_exit_figures(folder: Path) -> list[Path]:
    """Draw the tables that an early-exit study left in a folder; return the files, in its ``figures``."""
    result = read_json(folder / "result.json") or {}
    curves = pd.read_parquet(folder / "curves.parquet")
    tables = {name: pd.read_csv(folder / f"{name}.csv") for name in ("exits", "choices", "seconds", "reliability")}
    about, place = subtitle(curves), folder / "figures"
    share = result.get("residue_share")
    leaving, items = ("", "") if share is None else (_RULE.format(100 * share), "\nresidue by residue")
    place.mkdir(exist_ok=True)
    figures = {
        "exits": draw_exits(tables["exits"], tables["choices"], curves, str(result["metric"]), about + leaving),
        "seconds": draw_seconds(tables["seconds"], result["scalars"], about),
        "selective": draw_selective(curves, about + items),
        "reliability": draw_reliability(tables["reliability"], about + items),
    }
    return [path for name, figure in figures.items() for path in save(figure, place / name)]


def draw_exits(exits: pd.DataFrame, choices: pd.DataFrame, curves: pd.DataFrame, metric: str, about: str) -> Figure:
    """Draw the score on test against the mean number of layers computed.

    Args:
        exits: a row a split, fallback and threshold.
        choices: the thresholds that validation chose, with their scores on test.
        curves: every layer's own score, among others.
        metric: the score.
        about: the model and the data.
    """
    figure, (axis,) = _figure(f"What leaving early costs the task\n{about}; bands: 95 % intervals", 1)
    with mpl.rc_context(STYLE):
        _draw_layers(axis, curves[curves["quantity"] == metric])
        for number, fallback in enumerate(_FALLBACKS, start=1):
            rows = exits[(exits["split"] == "test") & (exits["fallback"] == fallback)].sort_values("layers")
            axis.plot(
                rows["layers"],
                rows[metric],
                ".-" if number == 1 else ".--",
                color=COLOURS[number],
                linewidth=1.4,
                markersize=4,
            )
            axis.lines[-1].set_label(f"early exit, {_FALLBACKS[fallback]}")
            axis.fill_between(
                rows["layers"], rows[f"{metric}_low"], rows[f"{metric}_high"], color=COLOURS[number], alpha=0.2, lw=0
            )
            _draw_choices(axis, choices[choices["fallback"] == fallback], metric, COLOURS[number])
        axis.set_xlabel("mean number of layers computed")
        axis.set_ylabel(f"{metric.replace('_', ' ')} on test")
        axis.legend(*_once(axis), fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)  # hides nothing
    return figure


def _draw_layers(axis: Axes, single: pd.DataFrame) -> None:
    """Draw every layer's own score as a dot, the last with a ring and a line across."""
    single = single.sort_values("layer")
    axis.plot(
        single["layer"], single["value"], "o", color=COLOURS[0], markersize=3.5, label="one layer for all proteins"
    )
    last = single.iloc[-1]
    axis.plot(
        [last["layer"]], [last["value"]], "o", color=COLOURS[0], markersize=15, fillstyle="none", label="last layer"
    )
    axis.axhline(last["value"], color=_GREY, linewidth=0.8, linestyle=":")


def _draw_choices(axis: Axes, choices: pd.DataFrame, metric: str, colour: str) -> None:
    for goal, (label, look) in _GOALS.items():
        rows = choices[choices["goal"] == goal]
        if not rows.empty:
            axis.plot(rows["layers"], rows[metric], linestyle="", color=colour, label=label, zorder=4, **look)


def draw_seconds(seconds: pd.DataFrame, scalars: Any, about: str) -> Figure:
    """Draw the share of time against the share of layers, with the line where both are equal and the fitted one."""
    figure, (axis,) = _figure(f"Whether fewer layers are less time\n{_in_two(about)}", 1, (4.6, 4.4))
    with mpl.rc_context(STYLE):
        axis.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=":", label="time in step with layers")
        slope, intercept = scalars["time_slope"], scalars["time_intercept"]
        if slope is not None:
            ends = np.array([0.0, 1.0])
            label = f"fit: {slope:.2f} x {signed(intercept)}, $r^2$ = {scalars['time_r_squared']:.3f}"
            axis.plot(ends, slope * ends + intercept, color=COLOURS[2], linewidth=1.2, label=label)
        axis.plot(seconds["layer_share"], seconds["time_share"], "o", color=COLOURS[1], label="measured", zorder=3)
        axis.set_xlim(0, 1.03)
        axis.set_ylim(0, max(1.03, 1.05 * seconds["time_share"].max()))
        axis.set_xlabel("layers computed (share of all)")
        axis.set_ylabel("wall time (share of a full pass)")
        axis.legend(fontsize=8, loc="upper left")
    return figure


def draw_selective(curves: pd.DataFrame, about: str) -> Figure:
    """Draw, by layer, the error left when the unsure are left out, and the part that better doubt would spare."""
    rows = curves[curves["quantity"].isin(["aurc", "excess_aurc"])]
    unit = str(rows["unit"].iloc[0]) or "share wrong"
    panels = (
        Panel(("aurc",), f"AURC ({unit})"),
        Panel(("excess_aurc",), f"excess AURC ({unit})"),
    )
    title = f"How well a head's confidence tells its own errors (lower is better)\n{about}; bands: 95 % intervals"
    return draw(rows, title, panels)


def draw_reliability(table: pd.DataFrame, about: str) -> Figure:
    """Draw reliability curves of a few layers, a panel a scaling."""
    scalings = list(dict.fromkeys(table["scaling"]))
    size, about = ((4.6, 4.6), _in_two(about)) if len(scalings) == 1 else ((7.6, 4.3), about)
    figure, axes = _figure(f"Whether what a head says comes true as often as it says\n{about}", len(scalings), size)
    with mpl.rc_context(STYLE):
        for axis, scaling in zip(axes, scalings, strict=True):
            _draw_reliability(axis, table[table["scaling"] == scaling])
            axis.set_title(_SCALINGS.get(scaling, scaling), fontsize=9)
    return figure


def _draw_reliability(axis: Axes, table: pd.DataFrame) -> None:
    axis.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=":")
    for number, layer in enumerate(shown_layers(int(table["layer"].max()))):
        rows = table[table["layer"] == layer].set_index("bin")
        look: dict[str, Any] = {"color": COLOURS[number], "marker": "osD^"[number], "markersize": 4.5, "linewidth": 1.2}
        common = rows[rows["n"] >= _RARE].reindex(range(table["bin"].max() + 1))  # a line joins neighbours alone
        label = f"layer {layer} (ECE {rows['error'].iloc[0]:.3f})"
        axis.plot(common["probability"], common["frequency"], label=label, **look)
        rare = rows[rows["n"] < _RARE]
        axis.plot(rare["probability"], rare["frequency"], **{**look, "linestyle": "", "fillstyle": "none"})
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel(f"probability that was said\n(hollow: fewer than {_RARE} predictions)")
    axis.set_ylabel("share that came true")
    axis.legend(fontsize=8, loc="upper left")


def shown_layers(n_layers: int) -> list[int]:
    """Return a few layers from the first to the last.

    >>> shown_layers(12)
    [1, 5, 8, 12]
    """
    return sorted({round(layer) for layer in np.linspace(min(1, n_layers), n_layers, _SHOWN_LAYERS).tolist()})


def _figure(title: str, n_axes: int, size: tuple[float, float] = (6.6, 4.2)) -> tuple[Figure, list[Axes]]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, n_axes, squeeze=False).ravel().tolist()
        figure.suptitle(title, fontsize=10)
    return figure, axes


def _in_two(about: str) -> str:
    """Return model and data on a line each, for a narrow figure."""
    return about.replace("), ", ")\n", 1)


def _once(axis: Axes) -> tuple[list[Any], list[str]]:
    """Return the handles of a legend in which every label stands once."""
    handles, labels = axis.get_legend_handles_labels()
    unique = dict(zip(reversed(labels), reversed(handles), strict=True))
    return list(reversed(unique.values())), list(reversed(unique))
