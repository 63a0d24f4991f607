"""From the command line: a trained probe is left early."""

from pathlib import Path

import pandas as pd
import pytest

from plmdepth.results.record import read_record
from tests.commands.probing import STUDY, fit, invoke, refusal


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def run(home: Path) -> Path:
    return fit(home, "demo_family")


def studies(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("outputs/analyze/*/*/early_exit/*/result.json"))


def test_the_choices_are_said_and_drawn(home: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(home, "analyze", *STUDY, f"probe_run={run}") == 0
    (folder,) = studies(home)
    record = read_record(folder)
    assert folder.parts[-4:-1] == ("tiny_masked", "demo_family", "early_exit")
    assert {path.stem for path in (folder / "figures").iterdir()} == {"exits", "seconds", "selective", "reliability"}
    shown = capsys.readouterr().out
    kept = record.result["scalars"]["no_loss_last_layers"]
    assert "on validation: a protein leaves at confidence" in shown
    assert f"{kept:.1f} of 12 layers" in shown
    gain = pd.read_csv(folder / "exits.csv").query("split == 'valid'")["difference_to_last"]
    assert gain.max() >= 0
    assert invoke(home, "analyze", *STUDY, f"probe_run={run}") == 0
    assert "was done before and is not run again" in capsys.readouterr().out
    assert len(studies(home)) == 1


def test_more_thresholds_are_another_study_of_the_same_probe(home: Path, run: Path) -> None:
    assert invoke(home, "analyze", *STUDY, "exit.thresholds=4", f"probe_run={run}") == 0
    identities = [read_record(folder).result["identity"] for folder in studies(home)]
    assert {identity["probe_run"] for identity in identities} == {run.name}
    assert all({*identity["metric"]}.isdisjoint({"threshold", "memory_gigabytes"}) for identity in identities)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("exit=early",), "exit=early needs a trained probe; give probe_run=PATH"),
        (("exit=early", "probe_run=nowhere"), "probe_run=nowhere holds no finished probe; give the folder"),
        (
            ("exit=early", "probe_run=RUN", "model=tiny_masked"),
            "takes model from probe_run; leave model=... out",
        ),
        (("exit=early", "probe_run=RUN", "dataset.limit=3"), "takes dataset from probe_run"),
        (("exit=early", "probe_run=RUN", "seed=1"), "takes seed from probe_run"),
        (("metric=residual", "probe_run=RUN"), "probe_run is an option of exit=early; add exit=early"),
        (("metric=residual", "predict=a.fasta"), "predict is an option of exit=early; add exit=early"),
        (
            ("exit=early", "probe_run=RUN", "exit.threshold=0.5"),
            "exit.threshold is for predictions; add pre",
        ),
        (
            ("exit=early", "probe_run=RUN", "predict_to=a.csv"),
            "predict_to is for predictions; add predict=FASTA",
        ),
        (("exit=early", "probe_run=RUN", "trainer=ddp", "trainer.devices=2"), "early_exit runs in one process; use"),
        (("exit=early", "probe_run=RUN", "metric=residual"), "exit=early is no metric and measures none beside it"),
        (("exit=early", "probe_run=RUN", "exit.rounds=1"), "exit.rounds must be at least 2, got 1"),
        (
            ("exit=early", "probe_run=RUN", "exit.confidence=mean_certainty"),
            "exit.confidence=mean_certainty is for tasks with many labels a protein; this one has one label a prot",
        ),
        (("exit=early", "probe_run=RUN", "exit.confidence=entropy"), "exit.confidence=entropy: expected"),
        (
            ("exit=early", "probe_run=RUN", "exit.residue_share=0.8"),
            "exit.residue_share=0.8 is for labels of residues; this task labels proteins: leave it out",
        ),
    ],
)
def test_what_cannot_be_studied_is_refused_in_one_line(
    arguments: tuple[str, ...], message: str, home: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(capsys, home, "analyze", *(argument.replace("RUN", str(run)) for argument in arguments))
    assert line.startswith("error: ")
    assert message in line


def test_the_former_form_is_the_same_cell_and_says_the_new_one(
    home: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(home, "analyze", *STUDY, f"probe_run={run}") == 0
    before = studies(home)
    former = [option.replace("exit=early", "metric=early_exit").replace("exit.", "metric.") for option in STUDY]
    capsys.readouterr()
    assert invoke(home, "analyze", *former, f"probe_run={run}") == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("  note: early exit is no metric any more; write python analyze.py exit=early exit.thr")
    assert "was done before" in second
    assert studies(home) == before


def test_labels_of_residues_leave_by_a_share_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ("dataset.train_size=12", "dataset.valid_size=6", "dataset.test_size=6", "probe.epochs=3")
    run = fit(tmp_path, "demo_structure", *small, probe="residue_linear")
    capsys.readouterr()
    assert invoke(tmp_path, "analyze", *STUDY, f"probe_run={run}", "exit.residue_share=0.55") == 0
    (folder,) = studies(tmp_path)
    record = read_record(folder)
    assert record.result["residue_share"] == 0.55
    assert set(record.curves["quantity"]) == {"aurc", "excess_aurc", "accuracy"}
    left = pd.read_csv(folder / "choices.csv")["threshold"]
    shown = capsys.readouterr().out
    assert ("a protein leaves when 55% of its residues have confidence" in shown) == bool((left <= 1).any())
    assert "reach the threshold" in (folder / "figures/exits.svg").read_text()


def test_the_certainty_of_many_labels_is_another_study(tmp_path: Path) -> None:
    small = ("dataset.train_size=20", "dataset.valid_size=10", "dataset.test_size=10", "probe.epochs=2")
    run = fit(tmp_path, "demo_function", *small)
    for confidence in ("max_probability", "mean_certainty"):
        assert invoke(tmp_path, "analyze", *STUDY, f"probe_run={run}", f"exit.confidence={confidence}") == 0
    first, second = (read_record(folder).result for folder in studies(tmp_path))
    assert {first["confidence"], second["confidence"]} == {"max_probability", "mean_certainty"}
    assert first["residue_share"] is None


def test_a_probe_of_other_weights_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fit(tmp_path, "demo_family", "model.weights=random", "probe.epochs=1")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("weights: random", "weights: bundled"))
    line = refusal(capsys, tmp_path, "analyze", *STUDY, f"probe_run={run}")
    assert line == f"error: probe_run={run}: the weights changed since; train the probe again with force=true"


def test_a_lens_is_no_probe_of_a_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lens = ("probe=tuned_lens", "probe.steps=2", "probe.batch_size=2", "model.miniature=true", "dataset.size=4")
    assert invoke(tmp_path, "train", *lens) == 0
    (record,) = (path.parent for path in tmp_path.glob("outputs/train/*/*/tuned_lens/*/result.json"))
    assert "is no run of heads" in refusal(capsys, tmp_path, "analyze", *STUDY, f"probe_run={record}")
