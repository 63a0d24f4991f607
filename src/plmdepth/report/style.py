"""What all figures share: their look, and how they are saved."""

from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, SymmetricalLogLocator

_DECADE = 10

# Okabe and Ito's colours, in an order whose lightness differs too; dashes and markers tell lines apart in grey.
COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7")
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "plmdepth",  # the same record gives the same file
}


def overall(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the curves over all sequences, without those of single noise levels."""
    return curves[curves["scope"] == ""]


def subtitle(rows: pd.DataFrame) -> str:
    """Return the model and the data of a record's curves."""
    first = rows.iloc[0]
    return (
        f"{first['model']} ({first['n_layers']} layers, {first['parameters'] / 1e6:.3g} M), "
        f"{rows['n'].max()} proteins of {first['dataset']}"
    )


def save(figure: Figure, stem: Path) -> list[Path]:
    """Save a figure as PNG and SVG, in a folder that is there; return the files."""
    files = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    figure.savefig(files[0], dpi=150)
    with mpl.rc_context({"svg.hashsalt": STYLE["svg.hashsalt"]}):
        figure.savefig(files[1], metadata={"Date": None})
    return files


def wrapped(label: str, width: int = 26) -> str:
    """Return a label in as many lines as keep it beside its panel.

    >>> wrapped("cosine of contribution and its input").splitlines()
    ['cosine of contribution and', 'its input']
    """
    return "\n".join(wrap(label, width, break_long_words=False))


def set_scale(axis: Axes, scale: str) -> None:
    """Scale the value axis by what is drawn on it, so that no single value rules it.

    ``log`` is logarithmic where sizes span a decade or more, with a linear part around 0 where some are 0; ``symlog``
    likewise for values of both signs, where the largest is ten times what is usual. Else the axis stays linear.

    Args:
        axis: its lines are drawn already.
        scale: ``linear``, ``log`` or ``symlog``.
    """
    drawn = [np.asarray(line.get_ydata(), dtype=float) for line in axis.lines]
    sizes = np.abs(np.concatenate([values[np.isfinite(values)] for values in drawn]) if drawn else np.empty(0))
    positive = sizes[sizes > 0]
    if scale == "linear" or not len(positive):
        return
    usual = float(np.median(positive)) if scale == "symlog" else float(positive.min())
    if positive.max() < _DECADE * usual:
        return
    if scale == "log" and len(positive) == len(sizes):
        axis.set_yscale("log")
        subs = (1, 2, 5) if positive.max() < _DECADE**2 * usual else (1,)
        axis.yaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
        axis.yaxis.set_minor_locator(NullLocator())
    else:
        threshold = 10.0 ** np.floor(np.log10(usual))
        axis.set_yscale("symlog", linthresh=threshold, linscale=0.5)
        axis.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=threshold))
        axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(plain_number))


def plain_number(value: float, _position: object = None) -> str:
    """Return the label of a tick: plain within four decades of 1, else a power of ten.

    >>> plain_number(0.05), plain_number(1e-6), plain_number(0)
    ('0.05', '$10^{-6}$', '0')
    """
    if value == 0 or 1e-4 < abs(value) < 1e5:
        return f"{value:g}"
    digits, _, exponent = f"{value:.0e}".partition("e")
    factor = {"1": "", "-1": "-"}.get(digits, f"{digits}\\times")
    return f"${factor}10^{{{int(exponent)}}}$"


def signed(number: float) -> str:
    """Return a number to add, with its sign set off.

    >>> signed(-0.021)
    '- 0.02'
    """
    return f"{'-' if number < 0 else '+'} {abs(number):.2f}"
