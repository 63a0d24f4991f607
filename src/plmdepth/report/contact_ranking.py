"""Which layer holds the contacts: the ranked table of layers that a contact probe leaves behind."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from rich.console import Console

from plmdepth.report.ranking import answers, ranking_table
from plmdepth.report.terminal import notes
from plmdepth.results.record import Record


def print_contact_ranking(record: Record, console: Console) -> None:
    """Print the best layers, what they are held against, the answer, and where the record lies."""
    table = pd.read_csv(record.folder / "layers.csv")
    task, first = record.result["task"], record.curves.iloc[0]
    title = f"{first['model']} on {first['dataset']}: contacts from attention by layer"
    console.print(title, highlight=False, soft_wrap=True)
    console.print(ranking_table(table, task["metric"]))
    console.print("  ±: half of the 95 % interval over proteins; all layers are in layers.csv", highlight=False)
    for sentence in [*baselines(record.result), *answers(record.result, task["metric"])]:
        console.print(f"  {sentence}", highlight=False, soft_wrap=True)
    for sentence in [*notes(record, "dropped"), *training_notes(record.result)]:
        console.print(f"  note: {sentence}", style="yellow", highlight=False, soft_wrap=True)
    console.print(f"  record: {record.folder}", highlight=False, soft_wrap=True)


def baselines(result: Mapping[str, Any]) -> list[str]:
    """Return what is measured, and what other rankings of the same pairs reach on test."""
    scalars, intervals = result["scalars"], result["scalar_intervals"]
    name = f"test_{result['task']['metric']}"
    proteins = result["task"]["proteins"]
    over, interval = scalars[f"{name}_over_separation"], intervals[f"{name}_over_separation"]
    bounds = f" [{interval['low']:+.3f}, {interval['high']:+.3f}]" if interval else ""
    return [
        f"{result['task']['metric']}: share of contacts among the L pairs ranked highest, 24 or more apart; "
        f"{proteins['train']} proteins to fit, {proteins['valid']} to choose, {proteins['test']} to test.",
        f"On test a random ranking reads {scalars[f'{name}_random']:.3f}, the separation alone "
        f"{scalars[f'{name}_separation']:.3f}, a perfect ranking {scalars[f'{name}_perfect']:.3f}; "
        f"the best layer is {over:+.3f}{bounds} against the separation.",
    ]


def training_notes(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was left out of the fit and of the test."""
    task, training = result["task"], result["training"]
    for each in task["left_out"]["test"]:
        if (each["quantity"], each["component"]) == (task["metric"], task["range"]):
            yield f"{each['proteins']} proteins of test are left out: {each['reason']}"
    if training["pairs"] < training["pairs_available"]:
        yield f"{training['pairs']} of {training['pairs_available']} training pairs are used (probe.max_pairs)"
    if training["layers_without_weight"]:
        yield (
            f"no head of layers {_listed(training['layers_without_weight'])} has a weight, so their ranking is random; "
            "more dataset.train_proteins or a higher probe.inverse_regularisation would tell more"
        )
    if training["layers_not_converged"]:
        yield f"the fit did not end at layers {_listed(training['layers_not_converged'])} (0: separation alone)"


def _listed(layers: list[int]) -> str:
    return ", ".join(map(str, layers))
