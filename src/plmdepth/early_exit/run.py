"""One early-exit cell: from a trained probe to what leaving early gains, measured on paper and in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow.parquet as pq
import torch

from plmdepth.analysis.tables import CurveLabels, curve_table
from plmdepth.cells.cell import Cell, Findings
from plmdepth.cells.context import RunContext
from plmdepth.early_exit.options import EarlyExitStudy
from plmdepth.early_exit.study import (
    HeadOutputs,
    choices,
    exit_table,
    reliability_table,
    time_over_layers,
    wall_times,
)
from plmdepth.early_exit.trained_probe import TrainedProbe, check_memory, fitted_temperatures, head_logits, load_probe
from plmdepth.errors import InputError
from plmdepth.metrics.accumulators import Estimate
from plmdepth.metrics.quantity import Quantity
from plmdepth.probes.layerwise.cell import ProbeCell, check_all_layers
from plmdepth.results.identity import Identity
from plmdepth.results.result import Measured

_TIMED_THRESHOLDS = 6
_SPLITS = ("valid", "test")
# Of prediction alone, as the study tries all; and what a number does not depend on.
_WITHOUT_NUMBERS = ("threshold", "fallback", "memory_gigabytes")


@dataclass(frozen=True)
class ExitCell(Cell):
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

    @classmethod
    def of(cls, run: RunContext) -> Self:
        """Return the cell of a study.

        Raises:
            InputError: there is no trained probe with heads, or it does not fit.
        """
        assert run.trained is not None
        probe = run.trained.run.asked.cell(run.trained.run)
        if not isinstance(probe, ProbeCell):
            raise InputError(f"probe_run={run.trained.folder} is no run of heads; choose one of probe=linear or mlp")
        options = {key: value for key, value in run.deciding["exit"].items() if key not in _WITHOUT_NUMBERS}
        return cls(probe, run.trained.folder, run.asked, options)

    def measure(self, staging: Path) -> Findings:
        """Study leaving early; write the tables."""
        probe = load_probe(self.probe, self.run)
        rule = self.study.protein_confidence(self.probe.task.kind)
        check_memory(self.probe.task, _SPLITS, probe.stack.n_layers, self.study.memory_gigabytes)
        logits, n = {split: head_logits(probe, split) for split in _SPLITS}, self.study.n_replicates
        plain = HeadOutputs.of(probe, "test", logits["test"], rule, n)
        if self.study.temperature:
            probe = replace(probe, temperatures=fitted_temperatures(probe, logits["valid"]))
        outputs = {split: HeadOutputs.of(probe, split, logits[split], rule, n) for split in _SPLITS}
        scaled = {"scaled": outputs["test"]} if self.study.temperature else {}
        tables = {**_tables(self, probe, outputs), "reliability": reliability_table({"plain": plain, **scaled})}
        for name, table in tables.items():
            table.to_csv(staging / f"{name}.csv", index=False)
        _write_curves(self, probe, outputs["test"], staging)
        return _findings(self, tables, outputs["test"], probe)


def _tables(cell: ExitCell, probe: TrainedProbe, outputs: Mapping[str, HeadOutputs]) -> dict[str, pd.DataFrame]:
    """Return exits on validation and test, the thresholds that validation picks with their test scores, and seconds."""
    metric = cell.probe.task.metrics[0]
    thresholds = cell.study.grid(outputs["valid"].confidence)
    valid, test = (exit_table(outputs[split], thresholds, metric) for split in ("valid", "test"))
    picked = choices(valid, metric).merge(test, on=["fallback", "threshold"], how="left")
    proteins = outputs["test"].proteins[: cell.study.timed]
    spread = torch.linspace(0, len(thresholds) - 1, _TIMED_THRESHOLDS).round().long().unique()
    timed = sorted({*thresholds[spread].tolist(), *picked["threshold"].tolist()})
    early = probe.early_exit(outputs["test"].rule, timed[0], "last")
    seconds = wall_times(early, proteins, timed, cell.probe.tokens_per_batch, cell.study.rounds)
    return {
        "exits": pd.concat([valid.assign(split="valid"), test.assign(split="test")], ignore_index=True),
        "choices": picked,
        "seconds": seconds,
    }


def _write_curves(cell: ExitCell, probe: TrainedProbe, outputs: HeadOutputs, staging: Path) -> None:
    """Write the selective risk of every layer's confidence, and every layer's own score."""
    metric, model = cell.probe.task.metrics[0], cell.probe.model
    found = {**outputs.selective(), metric: outputs.scores(outputs.single_layers)[metric]}
    risk = "nats" if outputs.kind == "multilabel" else ""
    units = {"aurc": risk, "excess_aurc": risk, metric: ""}
    quantities = [Quantity("early_exit", name, units[name], name.replace("_", " "), "test") for name in found]
    labels = CurveLabels.of(model, probe.stack, model.objective, cell.probe.task.name)
    stacked = Estimate(*(torch.stack(parts) for parts in zip(*found.values(), strict=True)))
    pq.write_table(curve_table(stacked, quantities, labels), staging / "curves.parquet")


def _findings(
    cell: ExitCell, tables: Mapping[str, pd.DataFrame], outputs: HeadOutputs, probe: TrainedProbe
) -> Findings:
    metric = cell.probe.task.metrics[0]
    scalars: dict[str, float] = {f"time_{name}": value for name, value in time_over_layers(tables["seconds"]).items()}
    intervals: dict[str, Any] = dict.fromkeys(scalars)
    for row in tables["choices"].to_dict("records"):
        name = f"{row['goal']}_{row['fallback']}"
        scalars |= {f"{name}_layers": row["layers"], f"{name}_{metric}": row[metric]}
        scalars[f"{name}_gain"] = row["difference_to_last"]
        intervals |= {f"{name}_layers": None}
        intervals[f"{name}_{metric}"] = {"low": row[f"{metric}_low"], "high": row[f"{metric}_high"]}
        gap = {"low": row["difference_to_last_low"], "high": row["difference_to_last_high"]}
        intervals[f"{name}_gain"] = gap
    measured = Measured(
        device=str(probe.device),
        dtype=cell.probe.model.dtype,
        sequences_measured=len(outputs.proteins),
        sequences_skipped={},
        letters_changed=cell.probe.task.changes,
    )
    sections = {
        "metric": metric,
        "confidence": cell.study.confidence,
        "residue_share": outputs.rule.share if outputs.kind == "residue" else None,
        "temperatures": [round(each, 4) for each in probe.temperatures.tolist()],
    }
    return Findings(scalars, intervals, measured, sections)
