"""An early-exit cell finds the layer from which a planted label is visible, and its tables agree with each other."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from plmdepth.cells.cell import run_cell
from plmdepth.early_exit.options import EarlyExitStudy
from plmdepth.early_exit.run import ExitCell
from plmdepth.early_exit.study import choices
from plmdepth.errors import InputError
from plmdepth.proteins.tasks.task import Kind
from plmdepth.results.record import Record, read_record
from tests.probes.cells import cell_of, plant, task_of

FIRST = 3
TABLES = ("exits", "choices", "seconds", "reliability")


def study(folder: Path, patch: pytest.MonkeyPatch, kind: Kind = "multiclass", **options: Any) -> ExitCell:
    task = task_of(kind)
    plant(patch, task, FIRST)
    cell = cell_of(task, folder)
    run_cell(cell, folder / "probe", "{}")
    chosen = EarlyExitStudy(**{"thresholds": 20, "n_replicates": 20, "timed": 6, "rounds": 2} | options)
    return ExitCell(cell, folder / "probe", chosen, vars(chosen))


def record_of(cell: ExitCell, folder: Path) -> Record:
    run_cell(cell, folder, "{}")
    return read_record(folder)


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_proteins_leave_where_the_label_becomes_visible(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = record_of(study(tmp_path, monkeypatch, kind, temperature=True), tmp_path / "exit")
    metric = record.result["metric"]
    choices = pd.read_csv(record.folder / "choices.csv").set_index(["goal", "fallback"])
    kept = choices.loc[("no_loss", "last")]
    assert kept["difference_to_last"] == pytest.approx(0, abs=0.02)
    alone = record.curves[record.curves["quantity"] == metric].set_index("layer")["value"]
    assert alone[FIRST:].min() == 1.0
    assert alone[: FIRST - 1].max() < 0.9
    if kind == "multiclass":
        assert FIRST - 0.5 <= kept["layers"] <= FIRST + 0.5
    doubt = record.curves[record.curves["quantity"] == "excess_aurc"].set_index("layer")["value"]
    assert doubt[FIRST:].max() < doubt[1]


def test_the_scalars_are_those_of_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_of(study(tmp_path, monkeypatch), tmp_path / "exit")
    tables = {name: pd.read_csv(record.folder / f"{name}.csv") for name in TABLES}
    scalars = record.result["scalars"]
    test = tables["exits"].query("split == 'test'").set_index(["fallback", "threshold"])
    for row in tables["choices"].to_dict("records"):
        name = f"{row['goal']}_{row['fallback']}"
        there = test.loc[(row["fallback"], row["threshold"])]
        assert scalars[f"{name}_layers"] == row["layers"] == there["layers"]
        assert scalars[f"{name}_accuracy"] == row["accuracy"] == there["accuracy"]
        assert scalars[f"{name}_gain"] == row["difference_to_last"] == there["difference_to_last"]
        assert row["threshold"] in set(tables["seconds"]["threshold"])  # each choice is run for real
    assert set(tables["exits"]["split"]) == {"valid", "test"}
    assert "NaN" not in json.dumps(record.result)


def test_thresholds_are_chosen_on_validation_and_read_on_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_of(study(tmp_path, monkeypatch), tmp_path / "exit")
    exits = pd.read_csv(record.folder / "exits.csv")
    valid, test = (exits[exits["split"] == split].reset_index(drop=True) for split in ("valid", "test"))
    assert (valid["accuracy"] * 30).round(9).apply(float.is_integer).all()  # of 30 proteins, and test of 40
    assert (test["accuracy"] * 40).round(9).apply(float.is_integer).all()
    picked = pd.read_csv(record.folder / "choices.csv")
    expected = choices(valid, "accuracy")
    assert picked[["goal", "fallback", "threshold"]].equals(expected)


def test_reliability_is_given_before_and_after_the_temperatures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = study(tmp_path, monkeypatch)
    plain = record_of(cell, tmp_path / "plain")
    assert set(plain.result["temperatures"]) == {1.0}
    before = pd.read_csv(plain.folder / "reliability.csv")
    assert set(before["scaling"]) == {"plain"}
    hot = EarlyExitStudy(thresholds=5, n_replicates=2, timed=2, rounds=2, temperature=True)
    scaled = record_of(ExitCell(cell.probe, cell.run, hot, {}), tmp_path / "scaled")
    assert len(set(scaled.result["temperatures"])) > 1
    both = pd.read_csv(scaled.folder / "reliability.csv")
    assert both[both["scaling"] == "plain"].reset_index(drop=True).equals(before)
    errors = both.groupby(["scaling", "layer"])["error"].first()
    assert errors["scaled"].sum() < errors["plain"].sum()


def test_the_reliability_table_equals_a_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_of(study(tmp_path, monkeypatch), tmp_path / "exit")
    table = pd.read_csv(record.folder / "reliability.csv")
    assert (table.groupby("layer")["n"].sum() == 40).all()
    share = (table["n"] * table["frequency"]).groupby(table["layer"]).sum() / 40
    alone = record.curves[record.curves["quantity"] == "accuracy"].set_index("layer")["value"]
    assert share.tolist() == pytest.approx(alone.tolist())
    gap = table["n"] * (table["frequency"] - table["probability"]).abs()
    assert (gap.groupby(table["layer"]).sum() / 40).tolist() == pytest.approx(
        table.groupby("layer")["error"].first().tolist()
    )


def test_what_does_not_fit_the_probe_is_refused_before_anything_runs(tmp_path: Path) -> None:
    cell = cell_of(task_of("multiclass"), tmp_path)
    with pytest.raises(InputError, match=r"exit.confidence=mean_certainty is for tasks with many labels"):
        ExitCell(cell, tmp_path, EarlyExitStudy(confidence="mean_certainty"), {})
    some = replace(cell, recipe=replace(cell.recipe, layers=[0, 3]))
    with pytest.raises(InputError, match=r"needs heads on all layers"):
        ExitCell(some, tmp_path, EarlyExitStudy(), {})


def test_the_identity_is_that_of_the_probe_and_the_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = study(tmp_path, monkeypatch)
    other = ExitCell(cell.probe, tmp_path / "moved", cell.study, cell.options)
    assert other.identity.id == cell.identity.id
    assert ExitCell(cell.probe, cell.run, cell.study, {"thresholds": 3}).identity.id != cell.identity.id
    assert cell.identity.facts["probe_run"] == cell.probe.identity.id
