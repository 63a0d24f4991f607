"""What a person reads in the terminal after a run: the curve as a table and the numbers that answer the question."""

import math
from collections.abc import Sequence

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from plmdepth.report.style import overall
from plmdepth.results.record import Record

_MOST_COLUMNS = 7
_COLUMNS = {
    # heading: (quantity, component)
    "KL\n(nats)": ("kl_to_final", ""),
    "loss\n(nats)": ("cross_entropy", ""),
    "share\nright": ("accuracy", ""),
    "top-5\nsame": ("top5_overlap", ""),
    "state\nnorm": ("norm", "residual"),
    "attn.\nshare": ("relative_contribution", "attention"),
    "MLP\nshare": ("relative_contribution", "mlp"),
    "cosine": ("cosine", "layer"),
}

_BY_SCOPE = {
    "ed_kl": "half of the distance at layer {:.0f}",
    "accuracy_final": "{:.1%} right at the last layer",
    "cross_entropy_final": "{:.3f} nats",
}


def print_record(record: Record, console: Console) -> None:
    """Print the curve table, the answer, and where the record lies."""
    curves = overall(record.curves)
    console.print(title(curves), highlight=False, soft_wrap=True)
    console.print(curve_table(curves))
    for sentence in (*answers(record), *scope_answers(record)):
        console.print(f"  {sentence}", highlight=False, soft_wrap=True)
    for sentence in notes(record):
        console.print(f"  note: {sentence}", style="yellow", highlight=False, soft_wrap=True)
    console.print(f"  record: {record.folder}", highlight=False, soft_wrap=True)


def title(curves: pd.DataFrame) -> str:
    """Return what was measured."""
    first = curves.iloc[0]
    return f"{first['model']} on {first['dataset']}, {curves['n'].max()} proteins"


def curve_table(curves: pd.DataFrame) -> Table:
    """Return the main quantities by layer."""
    first = curves.iloc[0]
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("layer", justify="right")
    columns = _COLUMNS if {"logit_lens", "residual"} & set(curves["metric"]) else _plain_columns(curves)
    shown = {heading: rows for heading, key in columns.items() if len(rows := _line(curves, *key))}
    for heading in shown:
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in range(first["n_layers"] + 1):
        table.add_row(str(layer), *(_number(rows["value"].get(layer)) for rows in shown.values()))
    return table


def _plain_columns(curves: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Return the first curves of a metric that has no columns of its own, headed by component and quantity."""
    keys = list(dict.fromkeys(zip(curves["quantity"], curves["component"], strict=True)))[:_MOST_COLUMNS]
    return {"\n".join([component or " ", *quantity.split("_")]): (quantity, component) for quantity, component in keys}


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
    if "ed_cosine" in scalars:
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
    if scalars.get("accuracy_final") is not None:
        unit = "token" if (record.curves["unit"] == "nats/token").any() else "residue"
        sentences.append(
            f"At the last layer {scalars['accuracy_final']:.1%} of the predicted {unit}s are right, "
            f"at {scalars['cross_entropy_final']:.3f} nats per {unit}."
        )
    return sentences


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


def _line(curves: pd.DataFrame, quantity: str, component: str) -> pd.DataFrame:
    rows = curves[(curves["quantity"] == quantity) & (curves["component"] == component)]
    return rows.set_index("layer")


def _layer(value: float, interval: dict[str, float] | None) -> str:
    if interval is None:
        return f"{value:.0f}"
    return f"{value:.0f} [{interval['low']:.0f}, {interval['high']:.0f}]"


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.3f}"
