"""An early-exit study beside what is published of the same model and task: a table, and lines in the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from plmdepth.report.published_numbers import PUBLISHED, Published, Quantity
from plmdepth.results.atomic import read_json
from plmdepth.results.record import Record

COLUMNS = ("task", "model", "quantity", "unit", "published", "here", "note", "source")
_UNITS: Mapping[Quantity, str] = {"gain": "percentage points", "efficiency": "percent"}
_WORDS: Mapping[Quantity, str] = {
    "gain": "gain over the last layer",
    "efficiency": "efficiency (here: layers not computed)",
}


def published_table(
    curves: pd.DataFrame, choices: pd.DataFrame, result: Mapping[str, Any], known: Sequence[Published] = PUBLISHED
) -> pd.DataFrame:
    """Return published numbers beside those of a study, a row each; no row where nothing is published.

    The study's numbers are those on test at the threshold that was best on validation, with the fallback of the
    publication: ``gain = 100 (score - last layer's score)`` and, as ``efficiency``, the share of layers that
    were not computed, ``100 (1 - layers / L)``.

    Args:
        curves: of the study.
        choices: the thresholds that validation chose, with their numbers on test.
        result: of the study.
        known: what is published.

    Returns:
        Columns `COLUMNS`. ``here`` is empty, and ``note`` says why, where the weights are untrained or validation
        chose nothing; ``note`` also says in what the study differs.
    """
    model, task, n_layers = (curves[name].iloc[0] for name in ("model", "dataset", "n_layers"))
    rows = []
    for number in known:
        if model in number.models and task in number.tasks:
            chosen = choices.query("goal == 'best' and fallback == @number.fallback").head(1).to_dict("records")
            reason = _why_empty(result, chosen, number)
            here = None if reason else _here(number.quantity, chosen[0], int(n_layers))
            note = reason or "; ".join(_differences(number, task, result))
            row = (task, model, number.quantity, _UNITS[number.quantity], number.stated, here, note, number.source)
            rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS).astype({"here": "Float64"})


def write_published(folder: Path) -> Path | None:
    """Write ``published.csv`` beside the tables of an early-exit study; None where nothing is published of it."""
    curves, choices = pd.read_parquet(folder / "curves.parquet"), pd.read_csv(folder / "choices.csv")
    table = published_table(curves, choices, read_json(folder / "result.json") or {})
    if table.empty:
        return None
    table.to_csv(folder / "published.csv", index=False)
    return folder / "published.csv"


def print_published(record: Record, console: Console) -> None:
    """Print published numbers beside the study's; nothing where either is missing."""
    choices = pd.read_csv(record.folder / "choices.csv")
    table = published_table(record.curves, choices, record.result).dropna(subset="here")
    for source, rows in table.groupby("source", sort=False):
        console.print(f"  published / here ({source}):", highlight=False, markup=False, soft_wrap=True)
        for row in rows.to_dict("records"):
            line = f"    {_WORDS[row['quantity']]}: {row['published']} / {row['here']:.2f} {row['unit']}"
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        for note in dict.fromkeys(rows["note"]):
            console.print(f"    note: {note}", style="yellow", highlight=False, markup=False, soft_wrap=True)


def _here(quantity: Quantity, chosen: Mapping[Any, Any], n_layers: int) -> float:
    if quantity == "gain":
        return 100 * float(chosen["difference_to_last"])
    return 100 * (1 - float(chosen["layers"]) / n_layers)


def _why_empty(result: Mapping[str, Any], chosen: Sequence[Mapping[Any, Any]], number: Published) -> str:
    if str(result["identity"]["weights"]).startswith("random"):
        return "untrained weights: the published numbers are of trained ones"
    return "" if chosen else f"no choice with fallback={number.fallback}"


def _differences(number: Published, task: str, result: Mapping[str, Any]) -> list[str]:
    """Return in what a study differs from a publication, as far as its record says."""
    measured, there = result["provenance"]["sequences_measured"], number.proteins.get(task)
    found = [
        f"published over {len(number.models)} models and {len(number.tasks)} tasks together",
        "the threshold here is chosen on validation",
        "efficiency here is the share of layers not computed, the source does not say what it counts",
        f"{measured} test proteins here" + ("" if there is None else f", {there} there"),
        "the weights here were read from files and not compared with the released ones",
    ]
    if (confidence := result.get("confidence", "max_probability")) != "max_probability":
        found.append(f"metric.confidence={confidence} here")
    return found
