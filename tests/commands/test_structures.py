"""``dataset=structures`` end to end: real chains, read by a model in every modality."""

import sys
from pathlib import Path

import pandas as pd
import pytest

from plmdepth.commands.analyze import analyze
from plmdepth.commands.entry import main
from plmdepth.results.record import read_record

MODALITIES = ("sequence", "structure", "both")


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "outputs"


def run(conf: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> int:
    arguments = ("model=esm3_1b", "model.miniature=true", f"outputs={outputs}", *overrides)
    monkeypatch.setattr(sys, "argv", ["analyze.py", *arguments])
    return main(conf, "analyze", analyze)


@pytest.mark.parametrize("metric", ["suite", "layer_skip"])
def test_the_same_targets_of_real_chains_are_measured_in_every_modality(
    shared_data: Path, conf: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    chains = shared_data / "structures" / "pdb_ec_test"
    options = ("dataset=structures", f"dataset.path={chains}", "dataset.limit=2", f"metric={metric}")
    curves, targets = [], set()
    for modality in MODALITIES:
        place = outputs / modality
        assert run(conf, place, monkeypatch, *options, f"model.modality={modality}") == 0
        (result,) = place.rglob("result.json")
        record = read_record(result.parent)
        curves.append(record.curves["value"])
        table = pd.read_parquet(record.folder / "sequences.parquet").sort_values("id")
        targets.add(
            str([(name, list(found)) for name, found in zip(table["id"], table["target_positions"], strict=True)])
        )
    assert len(targets) == 1
    for index, mine in enumerate(curves):
        assert all(not mine.equals(other) for other in curves[index + 1 :])
        assert mine.notna().any()


def test_sequences_without_structures_are_refused_in_one_line(
    conf: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(conf, outputs, monkeypatch, "dataset.size=2", "model.modality=both") == 2
    message = capsys.readouterr().err
    assert message.startswith("error: model.modality=both reads coordinates, and test_000000 has no residue with")
    assert message.count("\n") == 1
    assert "dataset=structures" in message
