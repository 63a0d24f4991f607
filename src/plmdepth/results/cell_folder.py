"""The one writer of records: a folder that is never half a result.

Files are written to a staging folder inside the cell's folder and moved when all are there; ``status.json`` comes last.
Repeating a finished cell leaves the old record valid until the new one is whole.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plmdepth.results.atomic import write_json, write_text
from plmdepth.results.identity import SCHEMA
from plmdepth.results.record import is_finished


@contextmanager
def writing_cell(folder: Path, config: str) -> Iterator[Path]:
    """Open a cell for writing; yield the staging folder.

    On a normal exit everything in the staging folder becomes the record. On an exception the staging folder goes, the
    status says ``failed`` unless an older record is there, and the exception goes on.

    Args:
        folder: the cell's folder.
        config: the resolved configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    started, had_record = _now(), is_finished(folder)
    staging = folder / f".{os.getpid()}.partial"
    shutil.rmtree(staging, ignore_errors=True)  # of a killed process that had the same number
    staging.mkdir()
    try:
        if not had_record:
            _write_status(folder, "running", started)
            write_text(folder / "config.yaml", config)
        yield staging
        write_text(staging / "config.yaml", config)
        _write_status(folder, "running", started)
        _publish(staging, folder)
        _write_status(folder, "done", started, ended=_now())
    except BaseException as error:
        if not is_finished(folder):
            with suppress(OSError):  # a full disk: the status stays "running", which is not "done" either
                _write_status(
                    folder, "failed", started, ended=_now(), error=f"{type(error).__name__}: {error}".rstrip(": ")
                )
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


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
