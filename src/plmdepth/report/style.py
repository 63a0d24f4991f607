"""What all figures share: their look, and how they are saved."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

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


def signed(number: float) -> str:
    """Return a number to add, with its sign set off.

    >>> signed(-0.021)
    '- 0.02'
    """
    return f"{'-' if number < 0 else '+'} {abs(number):.2f}"
