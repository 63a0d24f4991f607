"""The one writer of records: a folder that is never half a result.

Files are written to a staging folder inside the cell's folder and moved when all are there; ``status.json`` comes last.
Repeating a finished cell leaves the old record valid until the new one is whole.
"""

import os
import re
import shutil
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from plmdepth.errors import InputError
from plmdepth.results.atomic import write_json, write_text
from plmdepth.results.identity import SCHEMA
from plmdepth.results.processes import is_first, last_words
from plmdepth.results.record import is_finished
from plmdepth.results.workers import WORKERS, WorkerFailedError

TRACEBACK = "error.txt"
"""What went wrong in a cell, in full; it goes when the cell is finished."""

_STAGED = re.compile(r"\..*?(\d+)\.partial")


def writing_cell(folder: Path, config: str) -> AbstractContextManager[Path]:
    """Open a cell for writing; the context yields the staging folder.

    On a normal exit everything in the staging folder becomes the record. On an exception the staging folder goes, the
    status says ``failed`` unless an older record is there, and the exception goes on. Where several processes share a
    cell, only the first one writes the record: what the others put into their staging folder is thrown away.

    Args:
        folder: the cell's folder.
        config: the resolved configuration.
    """
    return _writing(folder, config) if is_first() else _throwing_away()


@contextmanager
def _throwing_away() -> Iterator[Path]:
    with TemporaryDirectory(prefix="plmdepth-") as folder:
        yield Path(folder)


@contextmanager
def _writing(folder: Path, config: str) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    started, had_record = _now(), is_finished(folder)
    _sweep(folder)
    staging = folder / f".{os.getpid()}.partial"
    staging.mkdir()
    try:
        if not had_record:
            _write_status(folder, "running", started)
            write_text(folder / "config.yaml", config)
        with last_words(lambda reason: _give_up(folder, staging, started, reason)), WORKERS.blamed():
            yield staging
        write_text(staging / "config.yaml", config)
        _write_status(folder, "running", started)
        _publish(staging, folder)
        (folder / TRACEBACK).unlink(missing_ok=True)
        _write_status(folder, "done", started, ended=_now())
    except BaseException as error:
        _write_traceback(folder, error)
        _give_up(folder, staging, started, f"{type(error).__name__}: {error}".rstrip(": "))
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _give_up(folder: Path, staging: Path, started: str, reason: str) -> None:
    """Leave a cell that has failed, and the old record where there is one."""
    shutil.rmtree(staging, ignore_errors=True)
    if not is_finished(folder):
        with suppress(OSError):  # a full disk: the status stays "running", which is not "done" either
            _write_status(folder, "failed", started, ended=_now(), error=reason)


def _write_traceback(folder: Path, error: BaseException) -> None:
    """Leave the traceback of what is a fault, and note on the error where it is."""
    if isinstance(error, Exception) and not isinstance(error, InputError):
        words = error.said if isinstance(error, WorkerFailedError) else ""
        with suppress(OSError):
            write_text(folder / TRACEBACK, words + "".join(traceback.format_exception(error)))
            error.add_note(f"traceback: {folder / TRACEBACK}")


def _sweep(folder: Path) -> None:
    """Remove what killed processes have left, this one's namesake among them."""
    for path in folder.glob(".*.partial"):
        found = _STAGED.fullmatch(path.name)
        if found and not _runs_elsewhere(int(found[1])):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _runs_elsewhere(number: int) -> bool:
    """Say whether a number is that of another process that is there."""
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return number != os.getpid()


def _publish(staging: Path, folder: Path) -> None:
    """Move every file to its place."""
    for source in sorted(path for path in staging.rglob("*") if path.is_file()):
        target = folder / source.relative_to(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)


def _write_status(folder: Path, state: str, started: str, ended: str | None = None, error: str | None = None) -> None:
    content: dict[str, Any] = {"state": state, "started": started, "ended": ended, "error": error, "schema": SCHEMA}
    write_json(folder / "status.json", content)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
