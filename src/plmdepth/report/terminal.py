"""What a person reads in the terminal after a run: the curve as a table and the numbers that answer the question."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from plmdepth.report.quantities import Quantities, meaningless, shown
from plmdepth.report.style import overall
from plmdepth.results.record import Record

_MOST_COLUMNS = 16
_MOST_DECIMALS = 6

_SENTENCES = (
    *("ed_kl", "ed_overlap", "ed_cosine", "ed_skip", "erasure_depth"),
    *("accuracy_final", "cross_entropy_final"),
)
"""Scalars that a sentence of `answers` is about; all others are listed with their values."""
_BY_SCOPE = {
    "ed_kl": "half of the distance at layer {:.0f}",
    "accuracy_final": "{:.1%} right at the last layer",
    "cross_entropy_final": "{:.3f} nats",
}


def print_record(record: Record, console: Console) -> None:
    """Print the curve table, the answer, and where the record lies."""
    curves = overall(record.curves)
    console.print(title(curves), highlight=False, soft_wrap=True)
    print_curves(curves, record.result.get("quantities", {}), console)
    for sentence in (*answers(record), *scope_answers(record)):
        console.print(f"  {sentence}", highlight=False, soft_wrap=True)
    for sentence in notes(record):
        console.print(f"  note: {sentence}", style="yellow", highlight=False, soft_wrap=True)
    console.print(f"  record: {record.folder}", highlight=False, soft_wrap=True)


def title(curves: pd.DataFrame) -> str:
    """Return what was measured."""
    first = curves.iloc[0]
    return f"{first['model']} on {first['dataset']}, {curves['n'].max()} proteins"


def print_curves(curves: pd.DataFrame, quantities: Quantities, console: Console) -> None:
    """Print the main quantities by layer, in as many tables below each other as the width asks for."""
    columns = _columns(curves, quantities)
    layers = range(int(curves["n_layers"].iloc[0]) + 1)
    printed: list[_Column] = []
    for column in columns:
        if printed and _wide(_table(layers, [*printed, column]), console) > console.width:
            console.print(_table(layers, printed))
            printed = []
        printed.append(column)
    if printed:
        console.print(_table(layers, printed))
    n_curves = len(curves.drop_duplicates(["metric", "quantity", "component"]))
    if len(columns) < n_curves:
        console.print(f"  {n_curves - len(columns)} more curves are in curves.parquet", highlight=False)


class _Column(NamedTuple):
    heading: str
    values: Mapping[int, str]


def _columns(curves: pd.DataFrame, quantities: Quantities) -> list[_Column]:
    """Return the curves that have a heading; of a metric without any, the first."""
    columns = []
    for _, rows in curves.groupby("metric", sort=False):
        known = shown(quantities, rows)
        headed = {key: each for key, each in known.items() if each.heading} or dict([*known.items()][:_MOST_COLUMNS])
        for (quantity, component), each in headed.items():
            line = rows[(rows["quantity"] == quantity) & (rows["component"] == component)].dropna(subset=["value"])
            cells = dict(zip(line["layer"], numbers(line["value"].tolist(), bounded=each.bounded), strict=True))
            columns.append(_Column(each.heading or "\n".join([*component.split("_"), *quantity.split("_")]), cells))
    return columns


def _table(layers: Iterable[int], columns: Sequence[_Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("layer", justify="right", no_wrap=True, min_width=len("layer"))
    for column in columns:
        table.add_column(column.heading, justify="right", no_wrap=True, vertical="bottom")
    for layer in layers:
        table.add_row(str(layer), *(column.values.get(layer, "") for column in columns))
    return table


def _wide(table: Table, console: Console) -> int:
    """Return how wide a table is when nothing limits it."""
    return console.measure(table, options=console.options.update_width(10**4)).maximum


def numbers(values: Sequence[float], *, bounded: bool = False) -> list[str]:
    """Return the cells of one column, aligned by their decimal point, so that none but 0 reads as 0.

    The largest value has four significant digits and three quarters of the values have three or more; of shares and
    cosines, which are read in absolute terms, three decimals and two significant digits. Values that span too much for
    that are all given as powers of ten.

    Args:
        values: of the column.
        bounded: whether they lie between two ends.

    >>> numbers([154.982, 1.469]), numbers([4.6, 0.25, 0.0]), numbers([0.034, 0.0000004]), numbers([0.5], bounded=True)
    (['154.98', '1.47'], ['4.600', '0.250', '0.000'], ['3.40e-02', '4.00e-07'], ['0.500'])
    """
    sizes = sorted(abs(value) for value in values if value != 0)
    if not sizes:
        return [f"{value:.3f}" for value in values]
    least, low, most = (math.floor(math.log10(size)) for size in (sizes[0], sizes[len(sizes) // 4], sizes[-1]))
    wanted = max(3, 1 - low) if bounded else max(0, 3 - most, 2 - low)
    decimals = max(wanted, -least)
    if decimals > _MOST_DECIMALS or most >= _MOST_DECIMALS:
        return [f"{value:.2e}" for value in values]
    return [f"{value:.{decimals}f}" for value in values]


def answers(record: Record) -> Sequence[str]:
    """Return the sentences that answer how the model uses its depth."""
    scalars, n_layers = record.result["scalars"], record.curves["n_layers"].iloc[0]
    intervals = record.result["scalar_intervals"]
    sentences = []
    if (kl := scalars.get("ed_kl")) is not None:
        sentences.append(
            f"Half of the distance to the final prediction is covered at layer {_layer(kl, intervals['ed_kl'])} "
            f"of {n_layers} (ed_kl)."
        )
    pinned = meaningless(record.result.get("quantities", {}))
    sentences += [f"{name} means nothing here: {reason}." for name, reason in pinned.items()]
    if "ed_cosine" in scalars and "ed_cosine" not in pinned:
        cosine = scalars["ed_cosine"]
        sentences.append(
            "No layer turns from erasing to writing (ed_cosine: the mean cosine never changes from negative)."
            if cosine is None
            else f"Layers stop erasing and write from layer {_layer(cosine, intervals['ed_cosine'])} on (ed_cosine)."
        )
    if (skip := scalars.get("ed_skip")) is not None:
        interval = intervals["ed_skip"]
        shown = f" [{interval['low']:.1f}, {interval['high']:.1f}]" if interval else ""
        sentences.append(f"The centre of mass of what layers do to later ones is at layer {skip:.1f}{shown} (ed_skip).")
    if "erasure_depth" in scalars:
        depth = scalars["erasure_depth"]
        sentences.append(
            "Erasing a residue changes no prediction far from it (erasure_depth)."
            if depth is None
            else "Erasing a residue changes predictions far from it by over half of the most until layer "
            f"{_layer(depth, intervals['erasure_depth'])} of {n_layers} (erasure_depth)."
        )
    if scalars.get("accuracy_final") is not None:
        unit = "token" if (record.curves["unit"] == "nats/token").any() else "residue"
        sentences.append(
            f"At the last layer {scalars['accuracy_final']:.1%} of the predicted {unit}s are right, "
            f"at {scalars['cross_entropy_final']:.3f} nats per {unit}."
        )
    return [*sentences, *_other_scalars(scalars, intervals)]


def _other_scalars(scalars: Mapping[str, float | None], intervals: Mapping[str, Any]) -> list[str]:
    """Return a line with the scalars that have no sentence of their own; of a depth, the layer alone."""
    plain = {name: value for name, value in scalars.items() if name.removesuffix("_depth") not in _SENTENCES}
    shares = {name for name in plain if name.removesuffix("_depth") in plain.keys() - {name}}
    parts = []
    for name, value in plain.items():
        if name not in shares and name not in _SENTENCES:
            ends = intervals.get(name)
            interval = f" [{ends['low']:.4g}, {ends['high']:.4g}]" if ends else ""
            parts.append(f"{name} " + ("undefined" if value is None else f"{value:.4g}{interval}"))
    return [f"{', '.join(parts)}."] if parts else []


def scope_answers(record: Record) -> Sequence[str]:
    """Return a line a scope, a noise level say, with those of its numbers that are known."""
    lines = []
    for scope, found in record.result.get("scopes", {}).items():
        scalars = found.get("scalars", {})
        parts = [text.format(scalars[name]) for name, text in _BY_SCOPE.items() if scalars.get(name) is not None]
        lines += [f"{scope.replace('_', ' ')}: {', '.join(parts)}."] if parts else []
    return lines


def notes(record: Record, left_out: str = "skipped") -> Sequence[str]:
    """Return what was left out or changed on the way."""
    provenance = record.result["provenance"]
    skipped = [f"{count} {left_out}: {reason}" for reason, count in provenance["sequences_skipped"].items()]
    changed = [f"{kind}: {count}" for kind, count in provenance["letters_changed"].items()]
    return [*skipped, *changed, *provenance.get("notes", ())]


def _layer(value: float, interval: dict[str, float] | None) -> str:
    if interval is None:
        return f"{value:.0f}"
    return f"{value:.0f} [{interval['low']:.0f}, {interval['high']:.0f}]"
