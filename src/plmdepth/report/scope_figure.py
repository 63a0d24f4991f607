"""Figures of a record whose sequences fall into scopes, the noise levels of a diffusion model: a line a scope."""

from collections.abc import Sequence

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from plmdepth.report.quantities import Quantities, Shown, shown
from plmdepth.report.style import STYLE, set_scale, subtitle, wrapped

_MOST_PANELS = 4
_WHOLE = ("", "layer", "residual")  # the components that stand for a whole layer or state


def draw_scopes(rows: pd.DataFrame, quantities: Quantities | None = None) -> Figure:
    """Draw the first quantities of one metric over layers, with a line and a band for each scope.

    Args:
        rows: the curves of one metric, of all scopes.
        quantities: what the record says of its quantities; those of its tables come first.
    """
    drawn = rows[rows["component"].isin(_WHOLE)].dropna(subset=["value"])
    drawn = drawn if len(drawn) else rows.dropna(subset=["value"])
    known = shown(quantities or {}, drawn)
    keys = sorted(known, key=lambda key: not known[key].heading)[:_MOST_PANELS]
    with mpl.rc_context(STYLE):
        n_rows = -(-len(keys) // 2)
        figure = Figure(figsize=(7.2, 2.5 * n_rows + 0.9), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(n_rows, 2, squeeze=False).ravel()
        for axis in axes[len(keys) :]:
            axis.set_axis_off()
        for axis, (quantity, component) in zip(axes, keys, strict=False):
            line = drawn[(drawn["quantity"] == quantity) & (drawn["component"] == component)]
            _draw_panel(axis, line, known[quantity, component])
        _legend(figure, axes[0], list(dict.fromkeys(rows["scope"])))
        figure.suptitle(
            f"The same curves by noise level\n{subtitle(rows)} at most at a level; bands: 95 % intervals", fontsize=10
        )
    return figure


def _draw_panel(axis: Axes, rows: pd.DataFrame, known: Shown) -> None:
    scopes = list(dict.fromkeys(rows["scope"]))
    for scope, colour in zip(scopes, _colours(len(scopes)), strict=True):
        line = rows[rows["scope"] == scope]
        axis.plot(line["layer"], line["value"], color=colour, linewidth=1.4, marker="o", markersize=2.5, label=scope)
        axis.fill_between(line["layer"], line["ci_low"], line["ci_high"], color=colour, alpha=0.2, linewidth=0)
    first = rows.iloc[0]
    axis.set_xlim(-0.3, first["n_layers"] + 0.3)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("layer (0 = embedding)")
    unit = f" ({first['unit']})" if first["unit"] else ""
    axis.set_ylabel(wrapped(known.label + unit))
    set_scale(axis, known.scale)


def _colours(count: int) -> Sequence[tuple[float, ...]]:
    """Return colours whose lightness rises with the level; the lightest end is left out, as it is hard to see."""
    colours = mpl.colormaps["viridis"]
    return [colours(0.9 * index / max(1, count - 1)) for index in range(count)]


def _legend(figure: Figure, axis: Axes, scopes: Sequence[str]) -> None:
    handles = axis.get_legend_handles_labels()[0]
    labels = [scope.partition("=")[2] or scope for scope in scopes]
    name = scopes[0].partition("=")[0].replace("_", " ")
    figure.legend(handles, labels, title=name, loc="outside lower center", ncols=min(len(labels), 8), fontsize=8)
