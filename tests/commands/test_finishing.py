"""The record first: what follows it, figures and tracking, can fail without a loss."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from rich.console import Console

from plmdepth.cells.cell import Cell
from plmdepth.commands import cells
from plmdepth.commands.cells import Finisher
from plmdepth.errors import InputError
from plmdepth.results.identity import Identity
from plmdepth.results.record import Record, is_finished
from plmdepth.results.tracking import NoTracking
from tests.analysis.test_run import analysis
from tests.commands.probing import invoke, refusal

SMALL = ("metric=residual", "model.miniature=true", "dataset.size=2")


@dataclass
class Tracked:
    """Notes what is sent, and fails where it is told to."""

    error: BaseException | None = None
    sent: list[str] = field(default_factory=list)
    finished: list[bool] = field(default_factory=list)
    folder: Path = Path()

    def check(self) -> None:
        pass

    @contextmanager
    def run(self, identity: Identity) -> Iterator["Tracked"]:
        self.finished.append(is_finished(identity.folder(self.folder)))
        yield self

    def publish(self, record: Record) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(record.folder.name)


@pytest.fixture
def cell() -> Cell:
    return replace(analysis(), proteins=replace(analysis().proteins, proteins=analysis().proteins.proteins[:2]))


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "draw", lambda _: None)


def finisher(folder: Path, tracking: Tracked | NoTracking) -> Finisher:
    return Finisher(folder, force=False, shared=False, tracking=tracking, console=Console(width=200))


def test_the_record_is_whole_before_it_is_tracked(cell: Cell, tmp_path: Path) -> None:
    tracked = Tracked(folder=tmp_path)
    folder = finisher(tmp_path, tracked).finish(cell, "")
    assert (tracked.finished, tracked.sent) == ([True], [folder.name])


@pytest.mark.parametrize("error", [ValueError("no network\nat all"), OSError("read-only"), TimeoutError()], ids=repr)
def test_tracking_that_fails_is_one_line_and_the_next_run_sends_it(
    cell: Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    folder = finisher(tmp_path, Tracked(error)).finish(cell, "")
    assert is_finished(folder)
    (line,) = [each for each in capsys.readouterr().out.splitlines() if "note: tracking has failed" in each]
    assert line.endswith("; the record is whole")
    tracked = Tracked(folder=tmp_path)
    assert finisher(tmp_path, tracked).finish(cell, "") == folder
    assert tracked.sent == [folder.name]


def test_an_interruption_while_it_is_tracked_goes_on(cell: Cell, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        finisher(tmp_path, Tracked(KeyboardInterrupt())).finish(cell, "")
    assert is_finished(cell.identity.folder(tmp_path))


def test_a_figure_that_cannot_be_drawn_does_not_lose_the_record(
    cell: Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise RuntimeError("no font")

    monkeypatch.setattr(cells, "draw", fail)
    assert is_finished(finisher(tmp_path, NoTracking()).finish(cell, ""))
    expected = "note: the figures could not be drawn (RuntimeError: no font); the record is whole"
    assert expected in capsys.readouterr().out


def test_a_cell_for_one_process_is_not_shared(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(cell), "shared", False)
    with pytest.raises(InputError, match="suite runs in one process; use trainer=gpu or trainer=cpu"):
        replace(finisher(tmp_path, NoTracking()), shared=True).finish(cell, "")


def test_a_bad_name_of_a_project_is_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, tmp_path, "analyze", *SMALL, "tracking=wandb", "tracking.project=a/b")
    assert line == "error: tracking.project=a/b is no name of a project: it has / in it"
    assert not (tmp_path / "outputs").exists()


def test_a_finished_cell_is_sent_when_tracking_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    assert invoke(tmp_path, "analyze", *SMALL) == 0
    assert not (tmp_path / "wandb").exists()
    # In a process of its own: W&B reads its settings once a process.
    command = [sys.executable, str(Path(__file__).parents[2] / "analyze.py"), *SMALL, "tracking=wandb"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    (record,) = tmp_path.glob("outputs/analyze/*/*/*/*/result.json")
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    assert run.name.endswith(json.loads(record.read_text())["identity"]["id"])
