"""One early-exit cell: from a trained probe to what leaving early gains, measured on paper and in seconds."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import torch

from plmdepth.analysis.tables import CurveLabels, curve_table
from plmdepth.early_exit.options import EarlyExitStudy
from plmdepth.early_exit.reliability import reliability_table
from plmdepth.early_exit.spoken import check_memory, fitted_temperatures, listen, said_of
from plmdepth.early_exit.study import Said, choices, exit_table
from plmdepth.early_exit.trained import TrainedProbe, load_probe
from plmdepth.early_exit.walltime import relation, wall_times
from plmdepth.metrics.accumulators import Estimate
from plmdepth.metrics.quantity import Quantity
from plmdepth.probes.layerwise.cell import ProbeCell, check_all_layers
from plmdepth.results.atomic import write_json
from plmdepth.results.cell_folder import writing_cell
from plmdepth.results.identity import SCHEMA, Identity
from plmdepth.results.provenance import environment

_TIMED_THRESHOLDS = 6
_SPLITS = ("valid", "test")


@dataclass(frozen=True)
class ExitCell:
    """One cell: a trained probe, left early.

    Attributes:
        probe: the cell of the probe.
        run: the folder of its record.
        study: what is tried.
        options: the options that decide numbers.
    """

    probe: ProbeCell
    run: Path
    study: EarlyExitStudy
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Refuse what does not fit before a model is loaded.

        Raises:
            InputError: an option is not for this kind of task, or some layers have no head.
        """
        self.study.protein_confidence(self.probe.task.kind)
        check_all_layers(self.probe.recipe)

    @cached_property
    def identity(self) -> Identity:
        """What determines the numbers: the probe and the options."""
        known = self.probe.identity
        facts = {**known.facts, "probe_run": known.id, "metric": dict(self.options)}
        return Identity("analyze", known.model, known.dataset, self.study.name, facts)


def run_exit_cell(cell: ExitCell, folder: Path, config: str, draw: Callable[[Path], object] | None = None) -> None:
    """Study leaving early and write the tables to ``folder``.

    Args:
        cell: the cell.
        folder: its folder.
        config: the resolved configuration.
        draw: adds figures to a folder with all other files of the record.
    """
    with writing_cell(folder, config) as staging:
        started = time.perf_counter()
        probe = load_probe(cell.probe, cell.run)
        rule = cell.study.protein_confidence(cell.probe.task.kind)
        check_memory(cell.probe.task, _SPLITS, probe.stack.n_layers, cell.study.memory_gigabytes)
        spoken = {split: listen(probe, split) for split in _SPLITS}
        plain = said_of(probe, "test", spoken["test"], rule, cell.study.n_replicates)
        if cell.study.temperature:
            probe = replace(probe, temperatures=fitted_temperatures(probe, spoken["valid"]))
        said = {split: said_of(probe, split, spoken[split], rule, cell.study.n_replicates) for split in _SPLITS}
        scaled = {"scaled": said["test"]} if cell.study.temperature else {}
        tables = {**_tables(cell, probe, said), "reliability": reliability_table({"plain": plain, **scaled})}
        for name, table in tables.items():
            table.to_csv(staging / f"{name}.csv", index=False)
        _write_curves(cell, probe, said["test"], staging)
        about = {**environment(), "device": str(probe.device), "dtype": cell.probe.model.dtype}
        seconds = time.perf_counter() - started
        write_json(staging / "result.json", _result(cell, folder, tables, said["test"], probe, about, seconds))
        if draw is not None:
            draw(staging)


def _tables(cell: ExitCell, probe: TrainedProbe, said: Mapping[str, Said]) -> dict[str, pd.DataFrame]:
    """Return exits on validation and test, the thresholds that validation picks with their test scores, and seconds."""
    metric = cell.probe.task.metrics[0]
    thresholds = cell.study.grid(said["valid"].confidence)
    valid, test = (exit_table(said[split], thresholds, metric) for split in ("valid", "test"))
    picked = choices(valid, metric).merge(test, on=["fallback", "threshold"], how="left")
    proteins = said["test"].proteins[: cell.study.timed]
    spread = torch.linspace(0, len(thresholds) - 1, _TIMED_THRESHOLDS).round().long().unique()
    timed = sorted({*thresholds[spread].tolist(), *picked["threshold"].tolist()})
    early = probe.leaving(said["test"].rule, timed[0], "last")
    seconds = wall_times(early, proteins, timed, cell.probe.tokens_per_batch, cell.study.rounds)
    return {
        "exits": pd.concat([valid.assign(split="valid"), test.assign(split="test")], ignore_index=True),
        "choices": picked,
        "seconds": seconds,
    }


def _write_curves(cell: ExitCell, probe: TrainedProbe, said: Said, staging: Path) -> None:
    """Write the selective risk of every layer's confidence, and every layer's own score."""
    metric = cell.probe.task.metrics[0]
    found = {**said.selective(), metric: said.scores(said.single_layers)[metric]}
    quantities = [
        Quantity("early_exit", name, "nats" if _in_nats(name, said) else "", name.replace("_", " "), "test")
        for name in found
    ]
    labels = CurveLabels.of(cell.probe.model, probe.stack, cell.probe.model.objective, cell.probe.task.name)
    stacked = Estimate(*(torch.stack(parts) for parts in zip(*found.values(), strict=True)))
    pq.write_table(curve_table(stacked, quantities, labels), staging / "curves.parquet")


def _in_nats(name: str, said: Said) -> bool:
    return "aurc" in name and said.kind == "multilabel"


def _result(
    cell: ExitCell,
    folder: Path,
    tables: Mapping[str, pd.DataFrame],
    said: Said,
    probe: TrainedProbe,
    about: Mapping[str, Any],
    seconds: float,
) -> dict[str, Any]:
    metric = cell.probe.task.metrics[0]
    scalars: dict[str, float] = {f"time_{name}": value for name, value in relation(tables["seconds"]).items()}
    intervals: dict[str, Any] = dict.fromkeys(scalars)
    for row in tables["choices"].to_dict("records"):
        name = f"{row['goal']}_{row['fallback']}"
        scalars |= {f"{name}_layers": row["layers"], f"{name}_{metric}": row[metric]}
        scalars[f"{name}_gain"] = row["difference_to_last"]
        intervals |= {f"{name}_layers": None}
        intervals[f"{name}_{metric}"] = {"low": row[f"{metric}_low"], "high": row[f"{metric}_high"]}
        gap = {"low": row["difference_to_last_low"], "high": row["difference_to_last_high"]}
        intervals[f"{name}_gain"] = gap
    return {
        "schema": SCHEMA,
        "identity": {"id": folder.name, **cell.identity.facts},
        "scalars": {name: value if value == value else None for name, value in scalars.items()},  # noqa: PLR0124 (NaN)
        "scalar_intervals": intervals,
        "metric": metric,
        "confidence": cell.study.confidence,
        "residue_share": said.rule.share if said.kind == "residue" else None,
        "temperatures": [round(each, 4) for each in probe.temperatures.tolist()],
        "provenance": {
            **about,
            "wall_seconds": round(seconds, 3),
            "sequences_measured": len(said.proteins),
            "sequences_skipped": {},
            "letters_changed": dict(cell.probe.task.changes),
        },
    }
