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
    assert f"leave early: python analyze.py exit=early probe_run={folder.relative_to(tmp_path)}" in shown
    assert {path.stem for path in (folder / "figures").iterdir()} == {"probe"}
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


def test_what_features_take_is_said_before_they_are_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path, "demo_family", "probe.epochs=1")
    line = "features: 140 proteins x 13 layers x 64 = 0.00 GB in float32, kept in outputs/features/tiny_masked"
    shown = capsys.readouterr().out
    assert line in shown
    fit(tmp_path, "demo_family", "probe.epochs=1")
    assert "features:" not in capsys.readouterr().out  # nothing is computed
    fit(tmp_path, "demo_structure", "dataset.limit=6", "probe.epochs=1", "probe.cache_gigabytes=0.0001")
    assert "not kept (probe.cache_gigabytes is 0.0001): the model runs in every epoch" in capsys.readouterr().out


def test_heads_are_put_on_chosen_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fit(tmp_path, "demo_family", "probe.layers=[0,6,12]", "probe.epochs=2")
    shown = capsys.readouterr().out
    assert "140 proteins x 3 layers x 64" in shown
    assert "…" not in shown
    assert "leave early" not in shown  # that needs heads on all layers
    assert sorted(pd.read_csv(folder / "layers.csv")["layer"]) == [0, 6, 12]
    assert {path.stem for path in (folder / "figures").iterdir()} == {"probe"}
    wrong = refusal(capsys, tmp_path, "train", "probe=linear", "dataset=demo_family", *FEW, "probe.layers=[3,13]")
    assert wrong == "error: probe.layers: there is no layer 13; choose among 0 (the embedding) to 12"


def test_attention_pools_in_half_precision(tmp_path: Path) -> None:
    half = ("trainer.precision=bf16-mixed", "probe.cache_dtype=bfloat16", "probe.epochs=2", "dataset.limit=20")
    record = read_record(fit(tmp_path, "demo_compartment", "probe.pooling=attention", *half))
    assert record.result["task"]["classes"] == ["cytoplasm", "secreted", "mitochondrion", "nucleus"]
    assert record.curves["value"].notna().all()


def test_residues_are_probed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ("dataset.train_size=24", "dataset.valid_size=4", "dataset.test_size=8", "probe.epochs=4")
    folder = fit(tmp_path, "demo_structure", *small, probe="residue_linear")
    record = read_record(folder)
    assert f"leave early: python analyze.py exit=early probe_run={folder.relative_to(tmp_path)}" in (
        capsys.readouterr().out
    )
    assert record.result["task"]["classes"] == ["H", "E", "C"]
    accuracy = record.curves.query("quantity == 'accuracy' and component == 'test'")["value"]
    assert accuracy.max() > accuracy.iloc[0] + 0.1  # what a letter is says little of the structure


def test_a_dataset_without_labels_is_refused_with_those_that_have_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(capsys, tmp_path, "train", "probe=linear", "dataset=demo")
    start, _, names = line.partition("; these have: ")
    assert start == "error: dataset=demo has no labels"
    assert {"demo_family", "demo_structure", "ec", "subcellular"} <= set(names.split(", "))
    assert not {"demo", "fasta"} & set(names.split(", "))


def test_settings_for_residues_are_refused_where_proteins_have_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(capsys, tmp_path, "train", "probe=residue_mlp", "dataset=demo_family", *FEW)
    assert line == "error: probe=residue_mlp does not fit dataset=demo_family; use probe=linear or mlp"


def test_one_probe_reads_labels_of_every_kind(tmp_path: Path) -> None:
    tasks = "dataset=demo_function,demo_compartment,demo_structure"
    small = ("dataset.limit=12", "probe.epochs=2", "probe.n_replicates=4")
    assert invoke(tmp_path, "train", "-m", tasks, "probe=mlp", *small) == 0
    kinds = [read_record(path.parent).result["task"]["kind"] for path in sorted(tmp_path.rglob("result.json"))]
    assert kinds == ["multiclass", "multilabel", "residue"]


@pytest.mark.parametrize(
    ("slip", "message"),
    [
        (("dataset.split=train",), "a probe learns, chooses and is tested on all splits; leave dataset.split out"),
        (("model=prot_t5_xl_u50", "model.miniature=true"), "and not the protein; use model.part=encoder"),
        (("model=dplm2", "model.miniature=true", "model.modality=both"), "sequences; use model.modality=sequence"),
    ],
)
def test_what_no_probe_can_read_is_refused_before_anything_is_written(
    slip: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, tmp_path, "train", "probe=linear", "dataset=demo_family", *FEW, *slip).endswith(message)
    assert not (tmp_path / "outputs").exists()
