"""Which layer serves a task best: the ranked table of layers that a probe leaves behind."""

import math
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from plmdepth.report.terminal import notes
from plmdepth.results.record import Record

_SHOWN = 10
_SPLITS = 3  # more do not fit 80 columns; layers.csv has all


def print_ranking(record: Record, console: Console) -> None:
    """Print the best layers, the answer, and where the record lies."""
    table = pd.read_csv(record.folder / "layers.csv")
    task, first = record.result["task"], record.curves.iloc[0]
    console.print(f"{first['model']} on {first['dataset']}: {task['metric']} by layer", highlight=False, soft_wrap=True)
    moving = unconverged(record.result)
    console.print(ranking_table(table, task["metric"], compared=not moving))
    console.print("  ±: half of the 95 % interval over proteins; all layers are in layers.csv", highlight=False)
    last = int(table["layer"].max())
    compared = "the last layer" if last == first["n_layers"] else f"layer {last}, the last with a head"
    found = [*answers(record.result, task["metric"], compared), *still_falling(record.result)]
    for sentence in [*found, *composition_alone(record.result, task["metric"])]:
        console.print(f"  {sentence}", highlight=False, soft_wrap=True)
    for sentence in notes(record, "dropped"):
        console.print(f"  note: {sentence}", style="yellow", highlight=False, soft_wrap=True)
    missing = task["classes_without_a_positive_in_train"]
    if missing:
        console.print(f"  note: {len(missing)} classes are never true in train and cannot be learnt", style="yellow")
    console.print(f"  record: {record.folder}", highlight=False, soft_wrap=True)


def unconverged(result: Any) -> list[int]:
    """Return the layers whose heads had not come to their end: no layer can then be compared with another."""
    return [int(layer) for layer, done in result.get("converged", {}).items() if not done]


def still_falling(result: Any) -> list[str]:
    """Return the sentence that says so, and what to do."""
    layers = unconverged(result)
    if not layers:
        return []
    which = f"layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}"
    if result["fit"]["method"] == "adam":
        return [f"The validation loss was still falling at {which}: layers cannot be compared; raise probe.epochs."]
    return [f"The regression of {which} did not come to its end: layers cannot be compared."]


def ranking_table(table: pd.DataFrame, metric: str, compared: bool = True) -> Table:
    """Return the best layers and the last one, best on validation first; it fits 80 columns.

    Args:
        table: the ranking.
        metric: the main score.
        compared: whether the difference to the last layer is shown.
    """
    splits = [name.removesuffix(f"_{metric}") for name in table.columns if name.endswith(f"_{metric}")][:_SPLITS]
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    headings = [
        "layer",
        "ms a\nprotein",
        *(f"{split}\n{metric}" for split in splits),
        *["test, less\nlast layer"] * compared,
    ]
    for heading in headings:
        shown.add_column(heading, justify="right", no_wrap=True)
    last = table["layer"].max()
    for row in table[(table.index < _SHOWN) | (table["layer"] == last)].to_dict("records"):
        scores = [_with_half(row, f"{split}_{metric}") for split in splits]
        gap = [_with_half(row, "test_difference_to_last", sign="+")] * compared
        shown.add_row(str(row["layer"]), f"{row['milliseconds']:.1f}", *scores, *gap)
    return shown


def answers(result: Any, metric: str, compared: str = "the last layer") -> list[str]:
    """Return the sentences that say which layer to take, and what it gains against the one it is compared with."""
    scalars, intervals = result["scalars"], result["scalar_intervals"]
    layer = int(scalars["best_layer"])
    gain, interval = scalars[f"test_{metric}_gain"], intervals[f"test_{metric}_gain"]
    if gain is None:
        return [f"Layer {layer} is the best on validation."]
    if unconverged(result):
        return [f"Layer {layer} has the highest {metric} on validation so far."]
    return [
        f"Layer {layer} is the best on validation; on test it reads {scalars[f'test_{metric}_best']:.3f} {metric}, "
        f"{gain:+.3f}{_bounds(interval, '+')} against {compared}."
    ]


def composition_alone(result: Any, metric: str) -> list[str]:
    """Return what a regression on composition reads on test without a model, where the record knows it."""
    scalars, intervals = result["scalars"], result["scalar_intervals"]
    alone, over = f"test_{metric}_composition", f"test_{metric}_over_composition"
    if scalars.get(alone) is None:
        return []
    gap = "" if scalars[over] is None else f"; the best layer is {scalars[over]:+.3f}{_bounds(intervals[over], '+')}"
    score = f"{scalars[alone]:.3f}{_bounds(intervals[alone])} {metric} on test"
    used, there = result["composition"]["proteins"], result["task"]["proteins"]["train"]
    part = f" (fitted on {used:,} of {there:,} proteins)" if used < there else ""
    return [f"Composition alone: {score}{part}{gap and f'{gap} against it'}."]


def _bounds(interval: Any, sign: str = "") -> str:
    return f" [{interval['low']:{sign}.3f}, {interval['high']:{sign}.3f}]" if interval else ""


def _with_half(row: dict[Any, Any], column: str, sign: str = "") -> str:
    value, half = row[column], (row[f"{column}_high"] - row[f"{column}_low"]) / 2
    return f"{value:{sign}.3f}" if math.isnan(half) else f"{value:{sign}.3f} ±{half:.3f}".replace("±0.", "±.")
