"""Labels of residues from end to end: a planted layer is found, on paper, for real and in predictions."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from plmdepth.cells.cell import run_cell
from plmdepth.early_exit.options import EarlyExitStudy
from plmdepth.early_exit.policy import exits
from plmdepth.early_exit.prediction import LEFT_OUT, predict_records, predictor_of
from plmdepth.early_exit.run import ExitCell
from plmdepth.early_exit.study import HeadOutputs, exit_table
from plmdepth.early_exit.trained_probe import TrainedProbe, fitted_temperatures, head_logits, load_probe
from plmdepth.probes.layerwise.cell import ProbeCell
from plmdepth.proteins.selection import Rules
from plmdepth.proteins.tasks.task import Labelled, Task
from plmdepth.results.growing_table import GrowingTable
from plmdepth.results.record import Record, read_record
from tests.early_exit.planted import plant_residues
from tests.probes.cells import CLASSES, QUICK, cell_of, task_of

AT = 4
STUDY = EarlyExitStudy(thresholds=30, n_replicates=10, timed=6, rounds=2)


def partly_labelled(task: Task) -> Task:
    """Return the task with every third residue not scored, whatever it is."""

    def some(each: Labelled) -> Labelled:
        return Labelled(each.protein, np.where(np.arange(len(each.label)) % 3 == 1, -1, each.label))

    return replace(task, splits={split: tuple(map(some, members)) for split, members in task.splits.items()})


def random_labels(task: Task) -> Task:
    """Return the task with labels that have nothing to do with the residues."""

    def drawn(each: Labelled) -> Labelled:
        random = np.random.default_rng([len(each.protein), *each.protein.sequence.encode()])
        return Labelled(each.protein, random.integers(len(CLASSES), size=len(each.label)))

    return replace(task, splits={split: tuple(map(drawn, members)) for split, members in task.splits.items()})


@pytest.fixture(scope="module")
def planted() -> Iterator[Task]:
    """The task of a model that knows its labels at one layer, for as long as the model is so."""
    task = random_labels(task_of("residue", train=60))
    with pytest.MonkeyPatch.context() as patch:
        plant_residues(patch, task, AT)
        yield partly_labelled(task)


@pytest.fixture(scope="module")
def cell(planted: Task, tmp_path_factory: pytest.TempPathFactory) -> ProbeCell:
    recipe = replace(QUICK, epochs=120, batch_size=8, learning_rate=0.05)
    return cell_of(planted, tmp_path_factory.mktemp("features"), recipe)


@pytest.fixture(scope="module")
def run(cell: ProbeCell, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probe") / "run"
    run_cell(cell, folder, "{}")
    return folder


@pytest.fixture(scope="module")
def record(cell: ProbeCell, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Record:
    folder = tmp_path_factory.mktemp("exit") / "record"
    run_cell(ExitCell(cell, run, STUDY, {}), folder, "{}")
    return read_record(folder)


def test_the_layer_that_knows_is_the_best(record: Record) -> None:
    alone = record.curves[record.curves["quantity"] == "accuracy"].set_index("layer")["value"]
    assert alone.idxmax() == AT
    assert alone[AT] > 0.999
    assert alone.drop(AT).max() < 0.6
    assert (record.result["residue_share"], record.result["confidence"]) == (0.8, "max_probability")


def test_at_a_threshold_of_099_proteins_leave_at_the_layer_that_knows(cell: ProbeCell, run: Path) -> None:
    probe = load_probe(cell, run)
    outputs = HeadOutputs.of(probe, "test", head_logits(probe, "test"), STUDY.protein_confidence("residue"), 5)
    row = exit_table(outputs, torch.tensor([0.99], dtype=torch.float64), "accuracy").iloc[0]
    left = exits(outputs.confidence, torch.tensor([0.99]), "last")
    assert left.layer.tolist() == left.computed.tolist() == [[AT] * len(outputs.proteins)]
    assert row["layers"] == AT
    assert row["accuracy"] > 0.999
    assert row["difference_to_last_low"] > 0.3


def test_the_surest_layer_beats_the_last_where_nobody_leaves(record: Record) -> None:
    rows = pd.read_csv(record.folder / "exits.csv").query("split == 'test' and threshold == 2").set_index("fallback")
    assert rows.loc["most_confident", "accuracy"] > 0.999
    assert rows.loc["last", "accuracy"] < 0.6
    assert (rows["layers"] == 6).all()
    assert rows.loc["most_confident", "difference_to_last_low"] > 0.3


def test_doubt_and_calibration_are_those_of_residues_with_a_label(record: Record, planted: Task) -> None:
    n_scored = sum(int((each.label >= 0).sum()) for each in planted.splits["test"])
    table = pd.read_csv(record.folder / "reliability.csv")
    assert (table.groupby("layer")["n"].sum() == n_scored).all()
    doubt = record.curves[record.curves["quantity"] == "aurc"].set_index("layer")
    assert doubt["value"][AT] < 0.001
    assert doubt["value"].drop(AT).min() > 0.2
    assert (doubt["n"] == len(planted.splits["test"])).all()


def settings(probe: TrainedProbe) -> list[tuple[float, Any]]:
    confidence = HeadOutputs.of(
        probe, "test", head_logits(probe, "test"), STUDY.protein_confidence("residue"), 0
    ).confidence
    values = confidence[1:].flatten().sort().values
    middle = [(values[place - 1] + values[place]).item() / 2 for place in (len(values) // 3, 2 * len(values) // 3)]
    return [(threshold, fallback) for threshold in (*middle, 2.0) for fallback in ("last", "most_confident")]


def test_on_paper_and_for_real_are_one(cell: ProbeCell, run: Path) -> None:
    probe = load_probe(cell, run)
    rule = STUDY.protein_confidence("residue")
    outputs = HeadOutputs.of(probe, "test", head_logits(probe, "test"), rule, 0)
    layers = set()
    for threshold, fallback in settings(probe):
        on_paper = exits(outputs.confidence, torch.tensor([threshold]), fallback)
        taken = outputs.predictions(on_paper.layer[0]).split(outputs.counts.tolist())
        for batch, left in probe.early_exit(rule, threshold, fallback).run(outputs.proteins, 150):
            assert left.layer.tolist() == on_paper.layer[0][batch].tolist()
            assert left.computed.tolist() == on_paper.computed[0][batch].tolist()
            for row, place in enumerate(batch):
                real = left.probabilities[row, left.present[row]]
                torch.testing.assert_close(real, taken[place], rtol=0, atol=1e-5)
            layers |= set(left.layer.tolist())
    assert len(layers) > 2


def test_temperatures_are_of_residues_and_change_what_is_sure(cell: ProbeCell, run: Path) -> None:
    probe = load_probe(cell, run)
    found = head_logits(probe, "valid")
    scored = found.labels >= 0
    hot = replace(probe, temperatures=fitted_temperatures(probe, found))
    loss = torch.nn.functional.cross_entropy
    for layer in range(7):
        logits = found.logits[layer, scored]
        after = loss(logits / hot.temperatures[layer].float(), found.labels[scored])
        assert after <= loss(logits, found.labels[scored]) + 1e-6
    assert hot.temperatures[AT] < 1 < hot.temperatures[1]


def test_labels_of_residues_are_predicted_in_the_order_of_the_protein(
    cell: ProbeCell, run: Path, planted: Task, tmp_path: Path
) -> None:
    predictor = predictor_of(load_probe(cell, run), replace(STUDY, threshold=0.99, fallback="last"))
    tables = GrowingTable(tmp_path / "new.parquet", predictor.schema), GrowingTable(tmp_path / "left.csv", LEFT_OUT)
    members = planted.splits["test"]
    records = [(each.protein.id, each.protein.sequence) for each in members]
    with tables[0], tables[1]:
        predict_records(predictor, records, Rules(max_length=50, length_policy="skip"), tables, lambda n: None)
    rows = pq.read_table(tmp_path / "new.parquet").to_pylist()
    assert [row["id"] for row in rows] == [each.protein.id for each in members]
    left_at = [row["layers_computed"] for row in rows]
    assert max(left_at, key=left_at.count) == AT
    for row, each in zip(rows, members, strict=True):
        found = row["labels"].split(";")
        assert len(found) == len(row["probabilities"]) == len(each.protein)
        assert row["mean_probability"] == pytest.approx(sum(row["probabilities"]) / len(found), abs=1e-5)
        if row["layers_computed"] == AT:
            known = [(name, CLASSES[label]) for name, label in zip(found, each.label, strict=True) if label >= 0]
            assert sum(name == wanted for name, wanted in known) >= len(known) - 1


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_pooling_of_a_recipe_says_nothing_of_residues(cell: ProbeCell, run: Path, pooling: Any) -> None:
    probe = load_probe(replace(cell, recipe=replace(cell.recipe, pooling=pooling)), run)
    assert head_logits(probe, "test").logits.shape[1] == sum(len(each.protein) for each in cell.task.splits["test"])
