"""The figure of a contact probe: how well the pairs that every layer ranks highest are in contact."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from plmdepth.report.figures import Panel, draw
from plmdepth.report.style import save, subtitle
from plmdepth.results.atomic import read_json

_CUTS = {"precision_at_l": "top L", "precision_at_l2": "top L/2", "precision_at_l5": "top L/5"}
_HEADROOM = 0.6  # of the height, for a legend of four lines
_BASELINES = {"perfect": "perfect ranking", "separation": "separation alone", "random": "random ranking"}


def write_contact_figure(folder: Path) -> list[Path]:
    """Draw the tables that a contact probe left in a folder; return the files, in its ``figures``."""
    result = read_json(folder / "result.json") or {}
    curves, layers = pd.read_parquet(folder / "curves.parquet"), pd.read_csv(folder / "layers.csv")
    rows = contact_rows(curves, layers, result)
    measured = rows[rows["quantity"] == "ranges"].dropna(subset=["value"])
    panels = (
        Panel(("attention",), "precision (long range, top L)"),
        Panel(("cuts",), "precision (long range)"),
        # Where all contacts are of long range, the panel would repeat the first.
        *([Panel(("ranges",), "precision (top L)")] if measured["component"].nunique() > 1 else []),
        Panel(("gaps",), "difference of precision", floor=None, reference=0.0),
    )
    title = (
        f"How many of the pairs that a layer ranks highest are in contact\n{subtitle(curves)}; bands: 95 % intervals"
    )
    (folder / "figures").mkdir(exist_ok=True)
    figure = draw(rows, title, panels)
    for axis in figure.axes:
        _put_legend_on_top(axis)
    return save(figure, folder / "figures" / "contacts")


def contact_rows(curves: pd.DataFrame, layers: pd.DataFrame, result: dict[str, Any]) -> pd.DataFrame:
    """Return what the panels show as curves: the panel as ``quantity``, the line as ``component``."""
    n_layers = curves["n_layers"].iloc[0]
    long, top = curves[curves["component"] == "long"], curves[curves["quantity"] == "precision_at_l"]
    main = long[long["quantity"] == "precision_at_l"]
    parts = [
        main.assign(quantity="attention", component="attention"),
        *(_level(result, name, label, n_layers) for name, label in _BASELINES.items()),
        long.assign(quantity="cuts", component=long["quantity"].map(_CUTS)),
        top.assign(quantity="ranges", component=top["component"] + " range"),
        _gap(layers, "test_difference_to_last", "to the last layer"),
        _gap(layers, "test_difference_to_separation", "to separation alone"),
    ]
    return pd.concat(parts, ignore_index=True).assign(n_layers=n_layers)


def _put_legend_on_top(axis: Axes) -> None:
    """Give the legend room above the lines."""
    if axis.get_legend() is not None:
        bottom, top = axis.get_ylim()
        axis.set_ylim(bottom, top + _HEADROOM * (top - bottom))
        axis.legend(fontsize=8, loc="upper left", frameon=False)


def _level(result: dict[str, Any], baseline: str, label: str, n_layers: int) -> pd.DataFrame:
    """Return a baseline as a level line over all layers."""
    name = f"test_precision_at_l_{baseline}"
    interval = result["scalar_intervals"][name] or {"low": None, "high": None}
    values = {"value": result["scalars"][name], "ci_low": interval["low"], "ci_high": interval["high"]}
    table = pd.DataFrame({"layer": range(1, n_layers + 1), **values}).astype(dict.fromkeys(values, float))
    return table.assign(quantity="attention", component=label)


def _gap(layers: pd.DataFrame, column: str, label: str) -> pd.DataFrame:
    values = {"layer": "layer", column: "value", f"{column}_low": "ci_low", f"{column}_high": "ci_high"}
    return layers[list(values)].rename(columns=values).sort_values("layer").assign(quantity="gaps", component=label)
