"""Figures of metrics of attention: every head by layer, and the ratio of a decomposition as a histogram."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from plmdepth.report.style import COLOURS, STYLE

RATIO_COUNTS = "ratio_counts/"
_LABELS = {
    "log_ratio": "log(positional / semantic)",
    "reconstruction": "correlation of fit and scores",
    "positional_variance": "variance by distance",
    "semantic_variance": "variance by key",
    "row_slope": "trend over queries (1/token)",
    "column_slope": "trend over keys (1/token)",
    "attention_entropy": "entropy (nats)",
    "relative_entropy": "entropy / its largest value",
    "attention_distance": "attention distance (tokens)",
    "share_special": "share on special tokens",
    "share_near": "share on itself and neighbours",
    "share_contacts": "share on contacts",
    "contacts_over_chance": "contacts / chance",
    "contacts_over_distance": "contacts / distance alone",
}
_LOGARITHMIC = ("positional_variance", "semantic_variance")
_REFERENCES = {
    "log_ratio": 0,
    "row_slope": 0,
    "column_slope": 0,
    "contacts_over_chance": 1,
    "contacts_over_distance": 1,
}


def has_heads(rows: pd.DataFrame) -> bool:
    """Say whether the curves of a metric are of heads."""
    return bool(rows["component"].str.startswith("head ").any())


def draw_heads(rows: pd.DataFrame, title: str) -> Figure:
    """Draw every quantity over layers: a dot a head, the mean over heads as a line with its interval."""
    names = list(dict.fromkeys(rows.dropna(subset=["value"])["quantity"]))
    with mpl.rc_context(STYLE):
        n_rows = -(-len(names) // 2)
        figure = Figure(figsize=(7.2, 2.5 * n_rows + 0.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(n_rows, 2, squeeze=False).ravel()
        for axis, name in zip(axes, names, strict=False):
            _draw_quantity(axis, rows[rows["quantity"] == name].dropna(subset=["value"]), name)
        for axis in axes[len(names) :]:
            axis.set_axis_off()
        figure.suptitle(title, fontsize=10)
    return figure


def _draw_quantity(axis: Axes, rows: pd.DataFrame, name: str) -> None:
    heads, mean = rows[rows["component"] != "mean"], rows[rows["component"] == "mean"]
    axis.plot(heads["layer"], heads["value"], ".", color=COLOURS[2], alpha=0.45, markersize=5, markeredgewidth=0)
    axis.plot(mean["layer"], mean["value"], color=COLOURS[0], marker="o", markersize=3.5, linewidth=1.3)
    axis.fill_between(mean["layer"], mean["ci_low"], mean["ci_high"], color=COLOURS[0], alpha=0.2, linewidth=0)
    if name in _LOGARITHMIC and (rows["value"] > 0).any():
        axis.set_yscale("log")
    if name in _REFERENCES:
        axis.axhline(_REFERENCES[name], color="#777777", linewidth=0.8)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("layer")
    axis.set_ylabel(_LABELS.get(name, name.replace("_", " ")))


def draw_ratio_counts(panels: Sequence[tuple[str, np.ndarray]], title: str) -> Figure:
    """Draw how often the positional over the semantic variance of a head and an input lay in a bin, by layer.

    Args:
        panels: the title and the counts ``[layer, bin]`` of every model; bins are even in the logarithm from 1e-4 to
            1e4, the first and the last hold what lies beyond.
        title: of the figure.
    """
    most = max((float(counts.max()) for _, counts in panels), default=1.0)
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(max(4.6, 3.6 * len(panels)), 3.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axis, (name, counts) in zip(axes, panels, strict=True):
            n_layers, n_bins = counts.shape
            mesh = axis.pcolormesh(
                np.arange(n_layers + 1) + 0.5,
                np.logspace(-4, 4, n_bins + 1),
                np.ma.masked_equal(counts.T, 0),
                norm=LogNorm(1, max(most, 2)),
                cmap="viridis",
                rasterized=True,
            )
            axis.axhline(1, color="#777777", linewidth=0.8)
            axis.set_yscale("log")
            axis.set_title(name, fontsize=9)
            axis.set_xlabel("layer")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0].set_ylabel("positional / semantic variance")
        figure.colorbar(mesh, ax=list(axes), label="heads x inputs", shrink=0.9)
        figure.suptitle(title, fontsize=10)
    return figure
