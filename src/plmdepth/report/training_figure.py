"""The figure of a training: the loss of every layer's head by epoch, on train and on validation."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from plmdepth.report.style import STYLE, save

_PANELS = {"train/loss": "loss on train (nats)", "val/loss": "loss on validation (nats)"}
_SPAN = 8  # times the lowest loss: the most that a linear axis shows
_DEPTHS = LinearSegmentedColormap.from_list("depth", mpl.colormaps["viridis"].reversed()(range(25, 256)))
"""From light to dark as layers get deeper, without the yellows that white swallows."""


def write_training_figure(folder: Path) -> list[Path]:
    """Draw the history that a probe left in a folder; return the files, in its ``figures``.

    Heads that were fitted to convergence have none.
    """
    if not (folder / "history.parquet").exists():
        return []
    history, curves = pd.read_parquet(folder / "history.parquet"), pd.read_parquet(folder / "curves.parquet")
    first = curves.iloc[0]
    about = f"{first['model']} ({first['n_layers']} layers) on {first['dataset']}"
    title = f"How the heads learnt\n{about}; dots: a layer's lowest loss on validation"
    (folder / "figures").mkdir(exist_ok=True)
    return save(draw_training(history, title), folder / "figures" / "training")


def draw_training(history: pd.DataFrame, title: str) -> Figure:
    """Draw a line a layer in either panel, with a dot at its lowest loss on validation.

    Args:
        history: ``epoch``, ``layer``, ``train/loss`` and ``val/loss``.
        title: what stands above.
    """
    shades = ScalarMappable(Normalize(history["layer"].min(), history["layer"].max()), _DEPTHS)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 3.3), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(_PANELS), sharex=True, sharey=True)
        for axis, (column, label) in zip(axes, _PANELS.items(), strict=True):
            _draw_losses(axis, history, column, shades)
            axis.set_ylabel(label)
            axis.tick_params(labelleft=True)
        _scale(axes[0], history[list(_PANELS)].to_numpy())
        _mark_lowest(axes[-1], history, shades)
        bar = figure.colorbar(shades, ax=axes, label="layer (0 = embedding)", pad=0.01)
        bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        figure.suptitle(title, fontsize=10)
    return figure


def _draw_losses(axis: Axes, history: pd.DataFrame, column: str, shades: ScalarMappable) -> None:
    for layer, rows in history.sort_values("epoch").groupby("layer"):
        colour = shades.to_rgba(rows["layer"].to_numpy())[0]
        axis.plot(
            rows["epoch"], rows[column], ".-", color=colour, linewidth=1.0, markersize=2.5, label=f"layer {layer}"
        )
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("epoch")


def _scale(axis: Axes, losses: np.ndarray) -> None:
    """Take a logarithmic axis where the losses span more than a linear one can show."""
    if losses.min() > 0 and losses.max() > _SPAN * losses.min():
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())


def _mark_lowest(axis: Axes, history: pd.DataFrame, shades: ScalarMappable) -> None:
    known = history.dropna(subset="val/loss")
    lowest = known.loc[known.groupby("layer")["val/loss"].idxmin()]
    colours = shades.to_rgba(lowest["layer"].to_numpy())
    axis.scatter(lowest["epoch"], lowest["val/loss"], c=colours, s=14, zorder=3)
