"""The figure of a probe: how well every layer serves the task, and how far it is from the last."""

from pathlib import Path

import pandas as pd

from plmdepth.report.figures import Panel, draw
from plmdepth.report.style import save, subtitle
from plmdepth.results.atomic import read_json

_GAP = "difference_to_last"


def write_probe_figure(folder: Path) -> list[Path]:
    """Draw the tables that a probe left in a folder; return the files, in its ``figures``."""
    metric = str((read_json(folder / "result.json") or {})["task"]["metric"])
    curves, layers = pd.read_parquet(folder / "curves.parquet"), pd.read_csv(folder / "layers.csv")
    rows = probe_rows(layers, metric).assign(n_layers=curves["n_layers"].iloc[0])
    panels = (
        Panel((metric,), metric.replace("_", " "), floor=None),
        Panel((_GAP,), "difference to the last layer", floor=None, reference=0.0),
    )
    title = f"How well each layer serves the task\n{subtitle(curves)}; bands: 95 % intervals"
    (folder / "figures").mkdir(exist_ok=True)
    return save(draw(rows, title, panels), folder / "figures" / "probe")


def probe_rows(layers: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the score and the difference of every split as curves: a row a quantity, split and layer."""
    splits = [name.removesuffix(f"_{metric}") for name in layers.columns if name.endswith(f"_{metric}")]
    parts = []
    for quantity in (metric, _GAP):
        for split in splits:
            column = f"{split}_{quantity}"
            values = {"layer": "layer", column: "value", f"{column}_low": "ci_low", f"{column}_high": "ci_high"}
            part = layers[list(values)].rename(columns=values).sort_values("layer")
            parts.append(part.assign(quantity=quantity, component=split))
    return pd.concat(parts, ignore_index=True)
