"""From the command line: a lens is fitted, and read with."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from plmdepth.commands.analyze import analyze
from plmdepth.commands.entry import main
from plmdepth.commands.train import train
from plmdepth.results.record import read_record

SMALL = ("model.miniature=true", "dataset.size=4")
FIT = ("probe=tuned_lens", "probe.steps=2", "probe.batch_size=2", *SMALL)
Run = Callable[..., int]


@pytest.fixture
def run(conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(entry: str, *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", [f"{entry}.py", *arguments])
        GlobalHydra.instance().clear()
        return main(conf, entry, {"analyze": analyze, "train": train}[entry])

    return run


def _lens(tmp_path: Path, number: int = 0) -> Path:
    found = sorted(
        (tmp_path / "outputs/train/tiny_masked/demo/tuned_lens").glob("*/lens"), key=lambda p: p.stat().st_mtime
    )
    return found[number]


def _cells(tmp_path: Path, metric: str = "logit_lens") -> list[Path]:
    return sorted((tmp_path / f"outputs/analyze/tiny_masked/demo/{metric}").glob("*/result.json"))


def test_a_fitted_lens_is_read_with(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", *FIT) == 0
    lens = _lens(tmp_path)
    shown = capsys.readouterr().out
    assert f"lens=tuned lens.path={lens.relative_to(tmp_path)}" in shown
    for metric in ("logit_lens", "suite"):
        assert run("analyze", f"metric={metric}", "lens=tuned", f"lens.path={lens}", *SMALL) == 0
        (cell,) = _cells(tmp_path, metric)
        record = read_record(cell.parent)
        translators = read_record(lens.parent).result["lens"]["translators"]
        assert record.result["identity"]["lens"] == translators
        assert "lens" not in record.result["identity"]["metric"]
        assert str(lens) not in cell.read_text()


def test_a_finished_lens_is_not_fitted_again(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", *FIT) == 0
    before = (_lens(tmp_path) / "lens.json").stat().st_mtime_ns
    assert run("train", *FIT) == 0
    assert "was done before and is not run again" in capsys.readouterr().out
    assert (_lens(tmp_path) / "lens.json").stat().st_mtime_ns == before


def test_the_identity_follows_the_translators_and_not_the_path(run: Run, tmp_path: Path) -> None:
    assert run("train", *FIT) == 0
    first = _lens(tmp_path)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for file in first.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    for path in (first, moved):
        assert run("analyze", "metric=logit_lens", "lens=tuned", f"lens.path={path}", *SMALL) == 0
        assert len(_cells(tmp_path)) == 1
    assert run("train", *FIT, "probe.steps=3") == 0
    assert run("analyze", "metric=logit_lens", "lens=tuned", f"lens.path={_lens(tmp_path, 1)}", *SMALL) == 0
    assert len(_cells(tmp_path)) == 2
    assert run("analyze", "metric=logit_lens", *SMALL) == 0
    assert len(_cells(tmp_path)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lens=tuned",), "error: lens.path is required; give lens.path=VALUE"),
        (("lens=tuned", "lens.path=nowhere"), "error: lens.path=nowhere: no such folder; give the lens folder"),
        (("lens=tuned", "lens.path=LENS", "metric=residual"), "error: metric=residual reads no state through a lens"),
        (("lens=tuned", "lens.path=LENS", "seed=1"), "error: lens.path=LENS was fitted to a tiny_masked whose final"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(
    arguments: tuple[str, ...], message: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", *FIT) == 0
    capsys.readouterr()
    lens = str(_lens(tmp_path))
    assert run("analyze", *(argument.replace("LENS", lens) for argument in arguments), *SMALL) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message.replace("LENS", lens))


def test_a_probe_is_refused_an_objective_that_the_model_has_not(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", *FIT, "objective=autoregressive") == 2
    assert "reads both sides of a residue" in capsys.readouterr().err
