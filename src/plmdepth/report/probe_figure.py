"""The figures of a probe: how well every layer serves the task, how far it is from the last, and how heads learnt."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from plmdepth.report.figures import Panel, draw
from plmdepth.report.style import COLOURS, save, subtitle
from plmdepth.report.training_figure import write_training_figure
from plmdepth.results.atomic import read_json

_GAP = "difference_to_last"
_SPLITS = 3  # as in the terminal; layers.csv has all


def write_probe_figures(folder: Path) -> list[Path]:
    """Draw the tables that a probe left in a folder; return the files, in its ``figures``."""
    return [*write_probe_figure(folder), *write_training_figure(folder)]


def write_probe_figure(folder: Path) -> list[Path]:
    """Draw the scores of all layers beside what composition alone reaches; return the files."""
    result = read_json(folder / "result.json") or {}
    metric = str(result["task"]["metric"])
    curves, layers = pd.read_parquet(folder / "curves.parquet"), pd.read_csv(folder / "layers.csv")
    rows = probe_rows(layers, metric).assign(n_layers=curves["n_layers"].iloc[0])
    panels = (
        Panel((metric,), metric.replace("_", " "), floor=None),
        Panel((_GAP,), f"difference to {_compared(layers, rows)}", floor=None, reference=0.0),
    )
    title = f"How well each layer serves the task\n{subtitle(curves)}; bands: 95 % intervals"
    (folder / "figures").mkdir(exist_ok=True)
    figure = draw(rows, title, panels)
    if (legend := figure.axes[1].get_legend()) is not None:
        legend.remove()  # it would say what the left one says, over the lines
    draw_composition(figure.axes[0], result["scalars"], metric, list(dict.fromkeys(rows["component"])))
    return save(figure, folder / "figures" / "probe")


def _compared(layers: pd.DataFrame, rows: pd.DataFrame) -> str:
    """Return the layer that the others are compared with: the last one that has a head."""
    last = int(layers["layer"].max())
    return "the last layer" if last == rows["n_layers"].iloc[0] else f"layer {last}"


def draw_composition(axis: Axes, scalars: Mapping[str, Any], metric: str, splits: list[str]) -> None:
    """Draw what composition alone reads on test as a line across, where it is known.

    Args:
        axis: where the scores of the layers are drawn.
        scalars: of the record.
        metric: the score.
        splits: the lines that are there, in their order.
    """
    value = scalars.get(f"test_{metric}_composition")
    if value is not None:
        colour = COLOURS[splits.index("test") % len(COLOURS)]
        axis.axhline(value, color=colour, linewidth=1.0, linestyle=(0, (6, 3)), label="composition, test")
        above = (0.0, 1.0)  # the axes, where it hides no line
        axis.legend(fontsize=8, loc="lower left", bbox_to_anchor=above, ncols=2, columnspacing=1.0, frameon=False)


def probe_rows(layers: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the score and the difference of every split as curves: a row a quantity, split and layer."""
    splits = [name.removesuffix(f"_{metric}") for name in layers.columns if name.endswith(f"_{metric}")][:_SPLITS]
    parts = []
    for quantity in (metric, _GAP):
        for split in splits:
            column = f"{split}_{quantity}"
            values = {"layer": "layer", column: "value", f"{column}_low": "ci_low", f"{column}_high": "ci_high"}
            part = layers[list(values)].rename(columns=values).sort_values("layer")
            parts.append(part.assign(quantity=quantity, component=split))
    return pd.concat(parts, ignore_index=True)
