"""A set of files is whole or not there, wherever a run is killed, and the next run finishes it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plmdepth.results.file_set import writing_set

NAMES = ("my [1].csv", "my [1].left_out.csv", "my [1].csv.json")


def write(folder: Path, text: str) -> None:
    with writing_set([folder / name for name in NAMES]) as staged:
        for path in staged:
            path.write_text(f"{path.name.partition('partial.')[2]} {text}")


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def whole(text: str) -> dict[str, str]:
    return {name: f"{name} {text}" for name in NAMES}


class Killed(BaseException):
    """Stands for the end of the process."""


class Reaper:
    """Kills the process at the k-th operation on the file system; nothing happens after that."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int) -> None:
        self.at, self.done = at, 0
        for name in ("replace", "rename", "unlink", "remove", "mkdir", "rmdir", "open"):
            patch.setattr(os, name, self._counting(getattr(os, name)))

    def _counting(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            self.done += 1
            if self.done > self.at:
                raise Killed
            return operation(*args, **options)

        return counted


@pytest.mark.parametrize("old", [True, False])
def test_wherever_a_run_is_killed_the_first_file_says_whether_all_are_there(tmp_path: Path, old: bool) -> None:
    for at in range(100):
        folder = tmp_path / str(at)
        folder.mkdir()
        if old:
            write(folder, "old")
        with pytest.MonkeyPatch.context() as patch:
            reaper = Reaper(patch, at)
            killed = False
            try:
                write(folder, "new")
            except Killed:
                killed = True
        left = content(folder)
        there = {name: left[name] for name in NAMES if name in left}
        assert NAMES[0] not in left or there in (whole("old"), whole("new"))
        if not killed:
            break
        write(folder, "again")
        assert content(folder) == whole("again")
    assert 3 < reaper.done == at < 100


@pytest.mark.parametrize("error", [ValueError("boom"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_set_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    write(tmp_path, "old")

    def fail() -> None:
        with writing_set([tmp_path / name for name in NAMES]) as staged:
            staged[0].write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert content(tmp_path) == whole("old")


def test_a_file_that_cannot_be_moved_takes_the_others_back(tmp_path: Path) -> None:
    (tmp_path / NAMES[1] / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write(tmp_path, "new")
    assert {path.name for path in tmp_path.iterdir()} == {NAMES[1]}


def test_files_of_killed_runs_go_and_those_of_running_ones_stay(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    gone, running = (tmp_path / f".{number}.partial.{NAMES[0]}" for number in (child.pid, os.getppid()))
    other = tmp_path / f".{child.pid}.partial.my 1.csv"  # of another set
    for path in (gone, running, other):
        path.write_text("half")
    write(tmp_path, "new")
    assert set(content(tmp_path)) == {*NAMES, running.name, other.name}
