import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plmdepth.errors import InputError
from plmdepth.results import cell_folder
from plmdepth.results.atomic import write_json
from plmdepth.results.cell_folder import writing_cell
from plmdepth.results.record import CURVE_COLUMNS, is_finished, read_record

DISK_FULL = OSError(errno.ENOSPC, "No space left on device")
DEATHS = [ValueError("boom"), KeyboardInterrupt(), SystemExit(1), DISK_FULL]


def _fill(staging: Path, value: float) -> None:
    row = dict.fromkeys(CURVE_COLUMNS.names) | {"layer": 1, "value": value}
    pq.write_table(pa.Table.from_pylist([row], schema=CURVE_COLUMNS), staging / "curves.parquet")
    (staging / "figures").mkdir()
    (staging / "figures" / "curve.svg").write_text(f"<svg>{value}</svg>")
    write_json(staging / "result.json", {"scalars": {"value": value}})


def _finish(folder: Path, value: float, at_the_end: Callable[[], None] = lambda: None) -> None:
    with writing_cell(folder, f"value: {value}\n") as staging:
        _fill(staging, value)
        at_the_end()


def _die(folder: Path, value: float, error: BaseException) -> None:
    with writing_cell(folder, f"value: {value}\n") as staging:
        _fill(staging, value)
        raise error


def _status(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return content


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _assert_holds(folder: Path, value: float) -> None:
    record = read_record(folder)
    assert record.result == {"scalars": {"value": value}}
    assert record.curves["value"].tolist() == [value]
    assert record.config == f"value: {value}\n"
    assert (folder / "figures" / "curve.svg").read_text() == f"<svg>{value}</svg>"


def _fail_when_moved(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if self.name == name:
            raise DISK_FULL
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)


def _no_space(*_: Any) -> None:
    raise DISK_FULL


def test_a_cell_that_ends_well_is_done_and_whole(tmp_path: Path) -> None:
    _finish(tmp_path / "cell", 1.0)
    _assert_holds(tmp_path / "cell", 1.0)
    assert _files(tmp_path / "cell") == {
        "config.yaml",
        "status.json",
        "result.json",
        "curves.parquet",
        "figures/curve.svg",
    }


def test_no_staging_folder_is_left_after_a_good_run(tmp_path: Path) -> None:
    _finish(tmp_path / "cell", 1.0)
    assert [path.name for path in (tmp_path / "cell").iterdir() if path.is_dir()] == ["figures"]


def test_the_status_of_a_finished_cell_says_when_it_ran(tmp_path: Path) -> None:
    _finish(tmp_path / "cell", 1.0)
    status = _status(tmp_path / "cell")
    assert list(status) == ["state", "started", "ended", "error", "schema"]
    started, ended = datetime.fromisoformat(status["started"]), datetime.fromisoformat(status["ended"])
    assert started.utcoffset() is not None
    assert started <= ended
    assert (status["state"], status["error"], status["schema"]) == ("done", None, 1)


def test_an_open_cell_is_running_and_not_finished(tmp_path: Path) -> None:
    with writing_cell(tmp_path / "cell", "a: 1\n") as staging:
        assert staging.parent == tmp_path / "cell"
        assert _status(tmp_path / "cell")["state"] == "running"
        assert (tmp_path / "cell" / "config.yaml").read_text() == "a: 1\n"
        assert not is_finished(tmp_path / "cell")


def test_the_status_says_done_only_when_all_files_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, seen = tmp_path / "cell", []

    def watch(path: Path, content: Mapping[str, Any]) -> None:
        seen.append((content["state"], (folder / "result.json").exists() and (folder / "curves.parquet").exists()))
        write_json(path, content)

    monkeypatch.setattr(cell_folder, "write_json", watch)
    _finish(folder, 1.0)
    assert seen == [("running", False), ("running", False), ("done", True)]


@pytest.mark.parametrize("error", DEATHS, ids=lambda error: type(error).__name__)
def test_a_cell_that_dies_half_way_is_failed_and_leaves_no_staging_folder(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        _die(tmp_path / "cell", 1.0, error)
    assert caught.value is error
    trace = {"error.txt"} if isinstance(error, Exception) else set()
    assert _files(tmp_path / "cell") == {"config.yaml", "status.json"} | trace
    assert [path for path in (tmp_path / "cell").iterdir() if path.is_dir()] == []
    assert _status(tmp_path / "cell")["state"] == "failed"
    assert not is_finished(tmp_path / "cell")


def test_a_failed_cell_says_which_error_it_was(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="boom"):
        _die(tmp_path / "cell", 1.0, ValueError("boom"))
    status = _status(tmp_path / "cell")
    assert status["error"] == "ValueError: boom"
    assert datetime.fromisoformat(status["ended"]) >= datetime.fromisoformat(status["started"])


def test_the_trace_of_a_fault_lies_in_the_folder_and_that_of_wrong_input_does_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="boom") as caught:
        _die(tmp_path / "fault", 1.0, ValueError("boom"))
    trace = (tmp_path / "fault" / "error.txt").read_text()
    assert trace.startswith("Traceback (most recent call last):")
    assert trace.endswith("ValueError: boom\n")
    assert caught.value.__notes__ == [f"traceback: {tmp_path / 'fault' / 'error.txt'}"]
    with pytest.raises(InputError):
        _die(tmp_path / "wrong", 1.0, InputError("no such file"))
    assert not (tmp_path / "wrong" / "error.txt").exists()


def test_a_failed_cell_can_be_run_again(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="boom"):
        _die(tmp_path / "cell", 1.0, ValueError("boom"))
    assert (tmp_path / "cell" / "error.txt").exists()
    _finish(tmp_path / "cell", 2.0)
    _assert_holds(tmp_path / "cell", 2.0)
    assert not (tmp_path / "cell" / "error.txt").exists()


def test_a_disk_too_full_for_the_status_never_says_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="No space left"):
        _finish(tmp_path / "cell", 1.0, lambda: monkeypatch.setattr(os, "fsync", _no_space))
    assert _status(tmp_path / "cell")["state"] == "running"
    assert _files(tmp_path / "cell") == {"config.yaml", "status.json"}
    assert not is_finished(tmp_path / "cell")


def test_a_disk_full_from_the_start_leaves_no_staging_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", _no_space)
    with pytest.raises(OSError, match="No space left"):
        _finish(tmp_path / "cell", 1.0)
    assert list((tmp_path / "cell").iterdir()) == []


@pytest.mark.parametrize("moved", ["config.yaml", "curves.parquet", "result.json"])
def test_a_new_cell_that_dies_while_it_is_moved_is_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: str
) -> None:
    with pytest.raises(OSError, match="No space left"):
        _finish(tmp_path / "cell", 1.0, lambda: _fail_when_moved(moved, monkeypatch))
    assert _status(tmp_path / "cell")["state"] == "failed"
    assert [path for path in (tmp_path / "cell").iterdir() if path.suffix == ".partial"] == []
    with pytest.raises(InputError):
        read_record(tmp_path / "cell")


@pytest.mark.parametrize("error", DEATHS, ids=lambda error: type(error).__name__)
def test_repeating_a_finished_cell_that_dies_leaves_the_old_record(tmp_path: Path, error: BaseException) -> None:
    _finish(tmp_path / "cell", 1.0)
    before = _files(tmp_path / "cell"), _status(tmp_path / "cell")
    with pytest.raises(type(error)):
        _die(tmp_path / "cell", 2.0, error)
    assert (_files(tmp_path / "cell") - {"error.txt"}, _status(tmp_path / "cell")) == before
    _assert_holds(tmp_path / "cell", 1.0)


def test_repeating_a_finished_cell_on_a_full_disk_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _finish(tmp_path / "cell", 1.0)
    with pytest.raises(OSError, match="No space left"):
        _finish(tmp_path / "cell", 2.0, lambda: monkeypatch.setattr(os, "fsync", _no_space))
    _assert_holds(tmp_path / "cell", 1.0)
    assert [path for path in (tmp_path / "cell").iterdir() if path.suffix == ".partial"] == []


def test_a_mixture_of_an_old_and_a_new_record_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _finish(tmp_path / "cell", 1.0)
    with pytest.raises(OSError, match="No space left"):
        _finish(tmp_path / "cell", 2.0, lambda: _fail_when_moved("result.json", monkeypatch))
    with pytest.raises(InputError):
        read_record(tmp_path / "cell")


def test_the_old_record_is_readable_while_its_cell_is_repeated(tmp_path: Path) -> None:
    _finish(tmp_path / "cell", 1.0)
    with writing_cell(tmp_path / "cell", "value: 2.0\n") as staging:
        _fill(staging, 2.0)
        _assert_holds(tmp_path / "cell", 1.0)
    _assert_holds(tmp_path / "cell", 2.0)


def test_what_a_killed_process_of_the_same_number_left_is_no_obstacle(tmp_path: Path) -> None:
    left = tmp_path / "cell" / f".{os.getpid()}.partial"
    left.mkdir(parents=True)
    (left / "half.parquet").write_bytes(b"PAR1")
    _finish(tmp_path / "cell", 1.0)
    _assert_holds(tmp_path / "cell", 1.0)
    assert "half.parquet" not in _files(tmp_path / "cell")


@pytest.fixture
def dead() -> int:
    """The number of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_killed_processes_left_is_swept_by_the_next_run(tmp_path: Path, dead: int) -> None:
    folder = tmp_path / "cell"
    (folder / f".{dead}.partial" / "figures").mkdir(parents=True)
    (folder / f".status.json.{dead}.partial").write_text("{")
    _finish(folder, 1.0)
    assert not list(folder.glob(".*"))
    _assert_holds(folder, 1.0)


def test_what_a_living_process_is_writing_stays(tmp_path: Path) -> None:
    folder = tmp_path / "cell"
    living = folder / f".{os.getppid()}.partial"
    living.mkdir(parents=True)
    (living / "curves.parquet").write_bytes(b"PAR1")
    (folder / ".notes.partial").write_text("somebody's own")
    _finish(folder, 1.0)
    assert {path.name for path in folder.glob(".*")} == {living.name, ".notes.partial"}
    assert (living / "curves.parquet").read_bytes() == b"PAR1"
