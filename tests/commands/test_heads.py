"""From the command line: heads are trained on all layers, and what does not fit is refused in one line."""

from pathlib import Path

import pandas as pd
import pytest

from plmdepth.results.record import read_record
from tests.commands.probing import FEW, QUICK, fit, invoke, refusal


def test_the_layers_are_ranked_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fit(tmp_path, "demo_family")
    shown = capsys.readouterr().out
    record = read_record(folder)
    best = int(record.result["scalars"]["best_layer"])
    assert f"Layer {best} is the best on validation" in shown
    assert "…" not in shown
    assert f"leave early: python analyze.py metric=early_exit probe_run={folder.relative_to(tmp_path)}" in shown
    assert {path.name for path in (folder / "figures").iterdir()} == {"probe.png", "probe.svg"}
    layers = pd.read_csv(folder / "layers.csv")
    assert layers["layer"][0] == best
    assert sorted(layers["layer"]) == list(range(13))


def test_a_finished_probe_is_shown_and_not_trained_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fit(tmp_path, "demo_family")
    before = (folder / "heads.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    assert fit(tmp_path, "demo_family", "probe.cache=false") == folder  # where features are kept decides no number
    shown = capsys.readouterr().out
    assert "was done before and is not run again" in shown
    assert "is the best on validation" in shown
    assert (folder / "heads.safetensors").stat().st_mtime_ns == before


def test_several_seeds_end_in_a_table_of_their_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("-m", "seed=1,2", "probe=linear", "dataset=demo_family", *FEW, *QUICK, "probe.epochs=3")
    assert invoke(tmp_path, "train", *arguments) == 0
    shown = capsys.readouterr().out
    assert "2 cells: demo_family, linear" in shown
    table = pd.read_csv(tmp_path / "outputs" / "comparison.csv")
    assert set(table["variant"]) == {"seed=1", "seed=2"}
    assert {"best_layer", "test_accuracy_best", "test_accuracy_last", "test_accuracy_gain"} <= set(table["scalar"])
    gains = table[table["scalar"] == "test_accuracy_last"]
    assert gains[["value", "low", "high"]].notna().all().all()


def test_residues_are_probed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ("dataset.train_size=24", "dataset.valid_size=4", "dataset.test_size=8", "probe.epochs=4")
    folder = fit(tmp_path, "demo_structure", *small, probe="residue_linear")
    record = read_record(folder)
    assert "leave early" not in capsys.readouterr().out
    assert record.result["task"]["classes"] == ["H", "E", "C"]
    accuracy = record.curves.query("quantity == 'accuracy' and component == 'test'")["value"]
    assert accuracy.max() > accuracy.iloc[0] + 0.1  # what a letter is says little of the structure
    assert not (tmp_path / "outputs" / "features").exists()


def test_a_dataset_without_labels_is_refused_with_those_that_have_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(capsys, tmp_path, "train", "probe=linear", "dataset=demo")
    start, _, names = line.partition("; these have: ")
    assert start == "error: dataset=demo has no labels"
    assert {"demo_family", "demo_structure", "ec", "subcellular"} <= set(names.split(", "))
    assert not {"demo", "fasta"} & set(names.split(", "))


@pytest.mark.parametrize(
    ("probe", "dataset", "wanted"),
    [("linear", "demo_structure", "residue_linear or residue_mlp"), ("residue_mlp", "demo_family", "linear or mlp")],
)
def test_a_probe_that_reads_other_labels_is_refused(
    probe: str, dataset: str, wanted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(capsys, tmp_path, "train", f"probe={probe}", f"dataset={dataset}", *FEW)
    assert line == f"error: probe={probe} does not fit dataset={dataset}; use probe={wanted}"
