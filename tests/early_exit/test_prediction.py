"""Predictions of new proteins: those of one protein at a time, whatever the file is cut into."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from plmdepth.cells.cell import run_cell
from plmdepth.early_exit import prediction
from plmdepth.early_exit.options import EarlyExitStudy
from plmdepth.early_exit.policy import ProteinConfidence, exits, max_probability, predictions_at
from plmdepth.early_exit.prediction import (
    LEFT_OUT,
    Predictor,
    Setting,
    Tally,
    labels_of,
    predict_records,
    predictor_of,
    setting_of,
)
from plmdepth.early_exit.study import HeadOutputs
from plmdepth.early_exit.trained_probe import TrainedProbe, load_probe
from plmdepth.errors import InputError
from plmdepth.probes.layerwise.features import pooled_states, spelt
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.selection import Rules
from plmdepth.proteins.tasks.task import Kind
from plmdepth.results.growing_table import GrowingTable
from tests.early_exit.test_study import outputs_of
from tests.probes.cells import CLASSES, QUICK, cell_of, task_of
from tests.scores.values import f1_max

RULES = Rules(max_length=50, length_policy="skip")
STUDY = EarlyExitStudy(thresholds=10, n_replicates=2)
RULE = ProteinConfidence(max_probability)
PROTEINS = [Protein(f"new_{i}", "MKTVACDEFGHIKLMNPQ"[: 3 + i % 15] * (1 + i % 2)) for i in range(20)]
RECORDS = [(protein.id, protein.sequence) for protein in PROTEINS]


@pytest.fixture(scope="module", params=["multiclass", "multilabel"])
def probe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TrainedProbe:
    folder, kind = tmp_path_factory.mktemp("probe"), request.param
    cell = cell_of(task_of(kind), folder, replace(QUICK, epochs=5))
    run_cell(cell, folder / "run", "{}")
    return load_probe(cell, folder / "run")


def setting_for(probe: TrainedProbe) -> Setting:
    """Return a setting at which proteins leave from several layers, with a threshold that is no one's confidence."""
    sure = torch.cat([outputs_alone(probe, protein)[1:].amax(-1) for protein in PROTEINS]).flatten().sort().values
    middle = int(0.8 * len(sure))
    threshold = sure[middle - 1 : middle + 1].mean().item()
    return Setting(threshold, "last", 0.5 if probe.cell.task.kind == "multilabel" else None)


def written(
    probe: TrainedProbe, folder: Path, records: Any = RECORDS, ending: str = ".parquet", rules: Rules = RULES
) -> Tally:
    predictor = Predictor(probe, RULE, setting_for(probe))
    tables = GrowingTable(folder / f"new{ending}", predictor.schema), GrowingTable(folder / f"left{ending}", LEFT_OUT)
    with tables[0], tables[1]:
        return predict_records(predictor, records, rules, tables, lambda n: None)


def outputs_alone(probe: TrainedProbe, protein: Protein) -> Tensor:
    """Return the predictions of all heads for one protein without padding, ``[layer, 1, class]``."""
    features = pooled_states(probe.stack, spelt(probe.stack, [protein.sequence], probe.device), "mean")
    with torch.no_grad():
        logits = probe.heads(features).transpose(0, 1)
    return logits.sigmoid() if probe.cell.task.kind == "multilabel" else logits.softmax(-1)


def test_a_row_says_what_one_protein_alone_would_leave_with(probe: TrainedProbe, tmp_path: Path) -> None:
    written(probe, tmp_path)
    rows, threshold = pq.read_table(tmp_path / "new.parquet").to_pylist(), setting_for(probe).threshold
    assert [row["id"] for row in rows] == [protein.id for protein in PROTEINS]
    assert len({row["layer"] for row in rows}) > 1
    for row, protein in zip(rows, PROTEINS, strict=True):
        outputs = outputs_alone(probe, protein)
        left = exits(outputs.amax(-1), torch.tensor([threshold]), "last")
        assert (row["layer"], row["layers_computed"]) == (left.layer.item(), left.computed.item())
        expected = predictions_at(outputs, left.layer[0])[0].tolist()
        if probe.cell.task.kind == "multilabel":
            outputs = sorted([(-p, name) for p, name in zip(expected, CLASSES, strict=True) if p >= 0.5])
            assert row["labels"] == [name for _, name in outputs]
            assert row["probabilities"] == pytest.approx([-p for p, _ in outputs], abs=1e-4)
        else:
            assert row["label"] == CLASSES[expected.index(max(expected))]
            assert row["probability"] == pytest.approx(max(expected), abs=1e-4)


def test_the_file_is_the_same_in_pieces_and_as_text(
    probe: TrainedProbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(probe, tmp_path)
    whole = pq.read_table(tmp_path / "new.parquet").to_pandas()
    monkeypatch.setattr(prediction, "CHUNK", 7)
    tally = written(probe, tmp_path)
    assert pq.ParquetFile(tmp_path / "new.parquet").num_row_groups == 3
    pieces = pq.read_table(tmp_path / "new.parquet").to_pandas()
    assert pieces[["id", "layer", "layers_computed"]].equals(whole[["id", "layer", "layers_computed"]])
    assert (tally.predicted, tally.layers) == (len(PROTEINS), whole["layers_computed"].sum())
    written(probe, tmp_path, ending=".csv")
    text = pd.read_csv(tmp_path / "new.csv", keep_default_na=False)
    assert text["layer"].tolist() == pieces["layer"].tolist()
    if probe.cell.task.kind == "multilabel":
        assert text["labels"].tolist() == [";".join(labels) for labels in pieces["labels"]]
        assert text.columns.tolist() == ["id", "labels", "probabilities", "layer", "layers_computed"]
    else:
        assert text["label"].tolist() == pieces["label"].tolist()
        assert text.columns.tolist() == ["id", "label", "probability", "layer", "layers_computed"]


def test_bad_records_are_listed_with_their_reason_and_stop_nothing(
    probe: TrainedProbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "CHUNK", 3)  # the second of an id comes in a later piece
    bad = [("gap", "MK-TV"), ("empty", ""), ("long", "A" * 51), ("new_0", "MK"), ("low", "mktv*")]
    tally = written(probe, tmp_path, [*RECORDS, *bad])
    left = {row["id"]: row for row in pq.read_table(tmp_path / "left.parquet").to_pylist()}
    assert {name: row["reason"] for name, row in left.items()} == {
        "gap": "the gap '-' is no residue (position 3)",
        "empty": "empty sequence",
        "long": "longer than 50 residues (51)",
        "new_0": "duplicate id (the first record with this id is kept)",
    }
    assert left["long"]["length"] == 51
    ids = pq.read_table(tmp_path / "new.parquet")["id"].to_pylist()
    assert ids == [*(protein.id for protein in PROTEINS), "low"]
    assert tally.skipped.total() == 4
    assert tally.changes == {"lower case raised": 4, "closing stop dropped": 1}


def test_a_long_protein_is_cut_where_the_run_did_so(probe: TrainedProbe, tmp_path: Path) -> None:
    records = [("long", "MKTV" * 20), ("cut", ("MKTV" * 20)[:50])]
    tally = written(probe, tmp_path, records, rules=replace(RULES, length_policy="truncate"))
    rows = pq.read_table(tmp_path / "new.parquet").to_pylist()
    assert {**rows[0], "id": ""} == {**rows[1], "id": ""}
    assert tally.changes["sequences truncated"] == 1


def test_a_file_of_any_length_is_read_a_piece_at_a_time(
    probe: TrainedProbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "CHUNK", 5)
    given, done, ahead = 0, 0, []

    def records() -> Iterator[tuple[str, str]]:
        nonlocal given
        for i in range(40):
            given += 1
            ahead.append(given - done)
            yield f"r{i}", "MK-V" if i % 3 else "MKTV"  # most are left out, and those are not kept either

    def advance(n: int) -> None:
        nonlocal done
        done += n

    predictor = Predictor(probe, RULE, setting_for(probe))
    tables = GrowingTable(tmp_path / "new.csv", predictor.schema), GrowingTable(tmp_path / "left.csv", LEFT_OUT)
    with tables[0], tables[1]:
        predict_records(predictor, records(), RULES, tables, advance)
    assert max(ahead) <= 5
    assert done == given == 40


def test_a_file_without_a_protein_is_refused(probe: TrainedProbe, tmp_path: Path) -> None:
    message = r"no protein to predict: all 2 records were left out, the first because of: the gap '-' is no residue"
    with pytest.raises(InputError, match=message):
        written(probe, tmp_path, [("a", "M-K"), ("b", "")])


def test_validation_picks_the_setting_and_options_override_it(probe: TrainedProbe) -> None:
    setting = predictor_of(probe, STUDY).setting
    assert setting.fallback == "last"
    assert (setting.term_threshold is None) == (probe.cell.task.kind == "multiclass")
    given = predictor_of(probe, replace(STUDY, threshold=0.25, fallback="most_confident")).setting
    assert (given.threshold, given.fallback) == (0.25, "most_confident")


def test_temperatures_are_fitted_if_they_are_asked_for(probe: TrainedProbe) -> None:
    assert (predictor_of(probe, STUDY).probe.temperatures == 1).all()
    assert (predictor_of(probe, replace(STUDY, temperature=True)).probe.temperatures != 1).any()


def last_is_best(kind: Kind) -> HeadOutputs:
    """Return predictions whose last layer is always right and sure, and the others at random."""
    outputs = outputs_of(kind, n_replicates=0)
    probabilities = outputs.probabilities.clone()
    wanted = torch.nn.functional.one_hot(outputs.labels, 3) if kind == "multiclass" else outputs.labels
    probabilities[-1] = 0.01 + 0.94 * wanted
    return replace(outputs, probabilities=probabilities)


def test_the_least_threshold_without_loss_is_taken() -> None:
    outputs = last_is_best("multiclass")
    setting = setting_of(STUDY, outputs, "accuracy")
    grid = STUDY.grid(outputs.confidence)

    def accuracy(threshold: float) -> float:
        layer = exits(outputs.confidence, torch.tensor([threshold]), "last").layer[0]
        return (predictions_at(outputs.probabilities, layer).argmax(-1) == outputs.labels).double().mean().item()

    without_loss = [threshold for threshold in grid.tolist() if accuracy(threshold) == 1.0]
    assert setting.threshold == min(without_loss)
    assert accuracy(grid[0].item()) < 1


def test_a_fallback_with_which_every_threshold_loses_asks_for_one() -> None:
    outputs = last_is_best("multiclass")
    probabilities = outputs.probabilities.clone()
    probabilities[1] = torch.tensor([0.99, 0.005, 0.005])  # always surest, mostly wrong
    message = r"exit.fallback=most_confident no threshold keeps the last layer's accuracy .* give exit.threshold=X"
    with pytest.raises(InputError, match=message):
        setting_of(replace(STUDY, fallback="most_confident"), replace(outputs, probabilities=probabilities), "accuracy")


def test_terms_are_cut_where_f1_is_highest_for_the_predictions_as_they_left() -> None:
    outputs = outputs_of("multilabel", n_replicates=0)
    threshold = 0.9
    setting = setting_of(replace(STUDY, threshold=threshold), outputs, "f1_max")
    layer = exits(outputs.confidence, torch.tensor([threshold]), "last").layer[0]
    taken = predictions_at(outputs.probabilities, layer)
    assert len(set(layer.tolist())) > 1
    at = {t: f1_max(taken[None], outputs.labels, torch.tensor([t])).item() for t in (torch.arange(101) / 100).tolist()}
    assert setting.term_threshold == pytest.approx(min(t for t, f1 in at.items() if f1 == max(at.values())))
    assert setting_of(replace(STUDY, threshold=0.5), outputs_of("multiclass"), "accuracy").term_threshold is None


def test_the_columns_are_told_apart_by_the_number_of_labels(probe: TrainedProbe) -> None:
    many = probe.cell.task.kind == "multilabel"
    column = Predictor(probe, RULE, setting_for(probe)).schema.field("labels" if many else "label")
    assert pa.types.is_list(column.type) == many


def test_one_letter_a_class_makes_a_string_of_letters() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.5, 0.4, 0.1]])
    assert labels_of(probabilities, "residue", ("H", "E", "C"), None) == ("HCH", 0.6, [0.7, 0.6, 0.5])
    assert labels_of(probabilities, "residue", ("H", "coil", "C"), None)[0] == "H;C;H"
