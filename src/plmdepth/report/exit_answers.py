"""What a person reads in the terminal after an early-exit study: how many layers the task needs, in sentences."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.console import Console

from plmdepth.report.published import print_published
from plmdepth.report.style import signed
from plmdepth.report.terminal import print_curves, title
from plmdepth.results.record import Record

_GOALS = {"no_loss": "no loss", "best": "best"}
_FALLBACKS = {"last": "the last layer's answer", "most_confident": "its surest layer's answer"}


def print_exits(record: Record, console: Console) -> None:
    """Print the layers' scores, the choices as sentences, and where the record lies."""
    console.print(title(record.curves), highlight=False, soft_wrap=True)
    print_curves(record.curves, record.result.get("quantities", {}), console)
    for sentence in exit_answers(record):
        console.print(f"  {sentence}", highlight=False, markup=False, soft_wrap=True)
    print_published(record, console)
    console.print(f"  record: {record.folder}", highlight=False, soft_wrap=True)


def exit_answers(record: Record) -> Sequence[str]:
    """Return a sentence for every threshold that validation chose with what test says of it, and one on time."""
    choices, seconds = (pd.read_csv(record.folder / f"{name}.csv") for name in ("choices", "seconds"))
    times = dict(zip(seconds["threshold"].round(9), seconds["time_share"], strict=True))
    n_layers, metric = int(record.curves["n_layers"].iloc[0]), str(record.result["metric"])
    share = record.result.get("residue_share")
    sentences = [
        f"{_goals(rows)}: {_choice(row, n_layers, metric, share, times.get(round(row['threshold'], 9)))}"
        for _, rows in choices.groupby(["fallback", "threshold"], sort=False)
        for row in rows.head(1).to_dict("records")
    ]
    return [*sentences, *_on_time(record.result["scalars"])]


def _goals(rows: pd.DataFrame) -> str:
    return " and ".join(_GOALS[goal] for goal in rows["goal"]).capitalize() + " on validation"


def _choice(row: dict[Any, Any], n_layers: int, metric: str, share: float | None, time: float | None) -> str:
    score = f"{row[metric]:.3f} [{row[f'{metric}_low']:.3f}, {row[f'{metric}_high']:.3f}] {metric}"
    gap = f"{row['difference_to_last']:+.3f} [{_ends(row)}] against the last layer"
    spent = "" if time is None else f", in {time:.0%} of the time"
    return (
        f"{_who_leaves(row['threshold'], share, _FALLBACKS[row['fallback']])}: "
        f"{row['layers']:.1f} of {n_layers} layers{spent}; on test {score}, {gap}."
    )


def leaving(threshold: float, residue_share: float | None) -> str:
    """Return when a protein leaves.

    Args:
        threshold: the confidence.
        residue_share: the share of its residues that must reach it; None where labels are of proteins.

    >>> leaving(0.95, None), leaving(0.95, 0.8)
    ('a protein leaves at confidence 0.95', 'a protein leaves when 80% of its residues have confidence 0.95')
    """
    if residue_share is None:
        return f"a protein leaves at confidence {threshold:.6g}"
    return f"a protein leaves when {100 * residue_share:.4g}% of its residues have confidence {threshold:.6g}"


def _who_leaves(threshold: float, residue_share: float | None, fallback: str) -> str:
    if threshold > 1:
        return f"no protein leaves early, {fallback} is taken"
    return f"{leaving(threshold, residue_share)}, else {fallback} is taken"


def _ends(row: dict[Any, Any]) -> str:
    return f"{row['difference_to_last_low']:+.3f}, {row['difference_to_last_high']:+.3f}"


def _on_time(scalars: Any) -> list[str]:
    slope, start, fit = (scalars[f"time_{name}"] for name in ("slope", "intercept", "r_squared"))
    if slope is None or fit is None:
        return []
    return [
        f"A share x of the layers takes {slope:.2f} x {signed(start)} of the time of a full pass (r^2 = {fit:.3f})."
    ]
