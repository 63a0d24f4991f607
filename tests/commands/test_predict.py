"""From the command line: new proteins are given labels by a probe that is left early."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from plmdepth.proteins.grammar.sampling import sample_proteins
from tests.commands.probing import fit, invoke, refusal

NEW = tuple(sample_proteins(0, "new", 12))
PREDICT = "exit=early"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    text = "".join(f">{protein.id} of {protein.family}\n{protein.sequence}\n" for protein in NEW)
    (folder / "my.fasta").write_text(f">gap\nMK-TV\n{text}>{NEW[0].id}\nMKTV\n>long\n{'MKTV' * 300}\n")
    with gzip.open(folder / "packed.fasta.gz", "wt") as file:
        file.write(text)
    (folder / "empty.fasta").write_text("")
    (folder / "bad.fasta").write_text(">a\nMK-TV\n>b\nM*K\n")
    return folder


@pytest.fixture(scope="module")
def family(home: Path) -> Path:
    return fit(home, "demo_family")


@pytest.fixture(scope="module")
def function(home: Path) -> Path:
    return fit(home, "demo_function")


def test_proteins_get_their_family_and_bad_records_are_listed(
    home: Path, family: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(home, "analyze", PREDICT, f"probe_run={family}", "predict=my.fasta") == 0
    folder = home / "outputs/predictions/tiny_masked/demo_family/linear" / family.name
    assert {path.name for path in folder.iterdir()} == {"my.csv", "my.left_out.csv", "my.csv.json"}
    table = pd.read_csv(folder / "my.csv")
    assert table["id"].tolist() == [protein.id for protein in NEW]
    right = [row == protein.family for row, protein in zip(table["label"], NEW, strict=True)]
    assert sum(right) >= 0.8 * len(NEW)
    assert table["probability"].between(0, 1).all()
    assert (table["layers_computed"].between(1, 12) & (table["layer"] <= table["layers_computed"])).all()
    left = pd.read_csv(folder / "my.left_out.csv")
    assert left["id"].tolist() == ["gap", NEW[0].id, "long"]
    shown = capsys.readouterr().out
    assert f"12 proteins predicted with {table['layers_computed'].mean():.1f} of 12 layers on average" in shown
    assert "left out: 3 records" in shown


def test_what_decided_the_predictions_is_kept_with_them(home: Path, family: Path) -> None:
    given = ("exit.threshold=0.5", "exit.fallback=most_confident", "predict_to=deep/er/kept.csv")
    assert invoke(home, "analyze", PREDICT, f"probe_run={family}", "predict=my.fasta", *given) == 0
    about = json.loads((home / "deep/er/kept.csv.json").read_text())
    assert about["setting"] == {"threshold": 0.5, "fallback": "most_confident", "term_threshold": None}
    assert about["probe_run"] == family.name
    assert about["proteins_predicted"] == 12
    assert about["left_out"]["duplicate id"] == 1
    table = pd.read_csv(home / "deep/er/kept.csv")
    assert table["layers_computed"].mean() == about["mean_layers_computed"]
    assert (table[table["layers_computed"] < 12]["probability"] >= 0.5).all()


def test_a_threshold_above_one_runs_every_layer(home: Path, family: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("predict=my.fasta", "exit.threshold=2", "predict_to=all.csv")
    assert invoke(home, "analyze", PREDICT, f"probe_run={family}", *given) == 0
    assert (pd.read_csv(home / "all.csv")[["layer", "layers_computed"]] == 12).all().all()
    assert "no protein leaves early, the fallback is last" in capsys.readouterr().out


def test_terms_are_lists_in_a_parquet_file(home: Path, function: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("predict=packed.fasta.gz", "predict_to=terms.parquet")
    assert invoke(home, "analyze", PREDICT, f"probe_run={function}", *given) == 0
    table = pd.read_parquet(home / "terms.parquet")
    hits = 0
    for row, protein in zip(table.to_dict("records"), NEW, strict=True):
        assert len(row["labels"]) == len(row["probabilities"])
        assert list(row["probabilities"]) == sorted(row["probabilities"], reverse=True)
        hits += len(set(row["labels"]) & set(protein.functions))
    assert hits >= 0.7 * sum(len(protein.functions) for protein in NEW)
    least = min(min(each) for each in table["probabilities"] if len(each))
    cut = json.loads((home / "terms.parquet.json").read_text())["setting"]["term_threshold"]
    assert 0 < cut <= least
    assert f"labels are the terms with probability {cut:.2f} or more" in capsys.readouterr().out
    assert len(pd.read_parquet(home / "terms.left_out.parquet")) == 0


def test_a_finished_file_is_only_replaced_by_force(
    home: Path, family: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (PREDICT, f"probe_run={family}", "predict=packed.fasta.gz")
    assert invoke(home, "analyze", *arguments) == 0
    target = next(home.glob("outputs/predictions/*/*/*/*/packed.csv"))
    before = target.read_text()
    target.write_text("mine")
    line = refusal(capsys, home, "analyze", *arguments)
    assert "packed.csv is there already; force=true replaces it, predict_to=FILE writes another" in line
    assert target.read_text() == "mine"
    assert invoke(home, "analyze", *arguments, "force=true") == 0
    assert target.read_text() == before


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("at", range(3))
def test_killed_while_its_files_are_moved_the_same_command_finishes(
    at: int, home: Path, family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "kept.csv"
    arguments = (PREDICT, f"probe_run={family}", "predict=packed.fasta.gz", f"predict_to={target}")
    move, unlink, moved = os.replace, os.unlink, list[Path]()

    def dying(operation: Callable[..., None]) -> Callable[..., None]:
        def counted(*paths: Path, **options: Any) -> None:
            if Path(paths[-1]).parent == tmp_path:
                if len(moved) == at:
                    raise Killed
                moved.extend(paths[1:])
            operation(*paths, **options)

        return counted

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dying(move))
        patch.setattr(os, "unlink", dying(unlink))
        with pytest.raises(Killed):
            invoke(home, "analyze", *arguments)
    assert not target.exists()
    assert invoke(home, "analyze", *arguments) == 0
    assert len(pd.read_csv(target)) == json.loads((tmp_path / "kept.csv.json").read_text())["proteins_predicted"] == 12
    assert len(pd.read_csv(tmp_path / "kept.left_out.csv")) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict=nowhere.fasta",), "no such file: nowhere.fasta; give predict an existing FASTA file"),
        (("predict=empty.fasta",), "empty.fasta holds no FASTA record"),
        (("predict=bad.fasta",), "no protein to predict: all 2 records were left out, the first because of: the gap"),
        (("predict=.",), "is a folder; give predict a FASTA file"),
        (
            ("predict=my.fasta", "predict_to=a.tsv"),
            "predict_to=a.tsv: the name of a file that ends in .csv or .parquet",
        ),
        (("predict=my.fasta", "exit.fallback=first"), "exit.fallback=first: expected 'last' or 'most_confident'"),
        (("predict=my.fasta", "exit.threshold=-1"), "exit.threshold=-1: a confidence from 0"),
        (("predict=my.fasta", "model=tiny_masked"), "takes model from probe_run; leave model=... out"),
    ],
)
def test_what_cannot_be_predicted_is_refused_in_one_line_and_writes_nothing(
    arguments: tuple[str, ...], message: str, home: Path, family: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = set(home.rglob("*"))
    line = refusal(capsys, home, "analyze", PREDICT, f"probe_run={family}", "outputs=refused", *arguments)
    assert line.startswith("error: ")
    assert message in line
    left = {path for path in set(home.rglob("*")) - there if path.is_file() and "features" not in path.parts}
    assert left == set()


def test_residues_get_a_letter_each(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ("dataset.train_size=40", "dataset.valid_size=10", "dataset.test_size=4", "probe.epochs=6")
    run = fit(tmp_path, "demo_structure", *small, probe="residue_linear")
    fasta = home / "packed.fasta.gz"
    capsys.readouterr()
    for target in ("letters.csv", "letters.parquet"):
        given = (f"predict={fasta}", "exit.threshold=0.999", "exit.residue_share=0.4", f"predict_to={target}")
        assert invoke(tmp_path, "analyze", PREDICT, f"probe_run={run}", *given) == 0
    assert "a protein leaves when 40% of its residues have confidence 0.999, else" in capsys.readouterr().out
    table, whole = pd.read_csv(tmp_path / "letters.csv"), pd.read_parquet(tmp_path / "letters.parquet")
    columns = ["id", "labels", "mean_probability", "probabilities", "layer", "layers_computed"]
    assert table.columns.tolist() == whole.columns.tolist() == columns
    assert table["labels"].tolist() == whole["labels"].tolist()
    assert table["layers_computed"].nunique() > 1
    for row, protein in zip(whole.to_dict("records"), NEW, strict=True):
        assert len(row["labels"]) == len(row["probabilities"]) == len(protein.sequence)
        assert set(row["labels"]) <= set("HEC")
        if row["layers_computed"] < 12:
            sure = sum(probability >= 0.5 for probability in row["probabilities"])
            assert sure >= 0.4 * len(protein.sequence)
    about = json.loads((tmp_path / "letters.csv.json").read_text())
    assert (about["confidence"], about["residue_share"]) == ("max_probability", 0.4)


def test_several_files_are_predicted_in_one_sweep(home: Path, family: Path) -> None:
    arguments = ("-m", PREDICT, f"probe_run={family}", "predict=my.fasta,packed.fasta.gz", "outputs=swept")
    assert invoke(home, "analyze", *arguments) == 0
    assert {path.name for path in (home / "swept").rglob("*.csv")} == {
        *("my.csv", "my.left_out.csv", "packed.csv", "packed.left_out.csv")
    }


def test_what_is_read_is_never_written_over(home: Path, family: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "in.csv").write_text(">a\nMKTV\n")
    (home / "folder.csv").mkdir()
    for target, what in (("in.csv", "the file to predict"), ("folder.csv", "a folder")):
        given = ("predict=in.csv", f"predict_to={target}", "force=true")
        assert invoke(home, "analyze", PREDICT, f"probe_run={family}", *given) == 2
        assert f"error: predict_to={target} is {what}; give the name of a new file" in capsys.readouterr().err
    (home / "out.left_out.csv").write_text(">a\nMKTV\n")
    line = refusal(
        capsys, home, "analyze", PREDICT, f"probe_run={family}", "predict=out.left_out.csv", "predict_to=out.csv"
    )
    assert "predict_to=out.csv also writes out.left_out.csv, which is the file to predict" in line
    assert (home / "in.csv").read_text() == (home / "out.left_out.csv").read_text() == ">a\nMKTV\n"
