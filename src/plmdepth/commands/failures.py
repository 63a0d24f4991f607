"""What is said of a cell that did not end well: one line, and where more stands."""

import errno
import traceback
from pathlib import Path

from plmdepth.proteins.memory import REMEDIES, is_out_of_memory
from plmdepth.results.atomic import write_text
from plmdepth.results.cell_folder import TRACEBACK
from plmdepth.results.processes import is_first
from plmdepth.results.workers import WorkerFailedError

_STORAGE_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EISDIR: "a folder stands where a file is needed",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.EEXIST: "a file stands where a folder is needed",
}


def storage_reason(error: OSError) -> str | None:
    """Return what is wrong with the storage, and where; None if it is something else."""
    reason = _STORAGE_ERRORS.get(error.errno or 0)
    place = f" ({error.filename})" if error.filename else ""
    return reason and f"{reason}{place}"


def failure(error: Exception, outputs: Path) -> str:
    """Return the line that is said of an unexpected error, with the file of its traceback.

    The file lies in the folder of the record where the error came up after that was opened, else among the outputs.
    """
    said = f"{type(error).__name__}: {error}".splitlines()[0]
    if is_out_of_memory(error):
        said = f"memory does not suffice; {REMEDIES} ({said})"
    for note in getattr(error, "__notes__", ()):
        if note.endswith(TRACEBACK):
            return f"{said}; {note}"
    trace = "".join(traceback.format_exception(error))
    words = error.said if isinstance(error, WorkerFailedError) else ""
    if not is_first():
        return f"{trace}{said}"  # the first process writes it down
    path = outputs / TRACEBACK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, words + trace)
    except OSError:
        return f"{words}{trace}{said}"
    return f"{said}; traceback: {path}"
