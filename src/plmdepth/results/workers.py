"""The other processes of a run with ``trainer=ddp``: started by the first one, watched by it, and gone when it ends.

They run the same command, print nothing and write no record. What one of them says when it fails is said by the first
process instead, once; and a run of which one process fails has failed, whatever the others are waiting for.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from plmdepth.errors import InputError
from plmdepth.results.processes import NUMBER, say_last_words

WRONG_INPUT = 2
_SIGNAL = signal.SIGUSR1
_LOOK_EVERY, _GRACE = 0.2, 10.0  # seconds


class WorkerFailedError(RuntimeError):
    """Another process of this run has failed.

    Attributes:
        said: what it said.
    """

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


@dataclass(frozen=True)
class Worker:
    """Another process, and the file of what it says."""

    number: int
    process: "subprocess.Popen[bytes]"
    words: IO[bytes]

    def error(self) -> Exception:
        """Return why it ended."""
        self.words.seek(0)
        said, code = self.words.read().decode(errors="replace"), self.process.returncode
        lines = [line for line in said.splitlines() if line.startswith("error: ")]
        if code == WRONG_INPUT and lines:
            return InputError(lines[-1].removeprefix("error: "))
        how = f"code {code}" if code >= 0 else signal.Signals(-code).name
        return WorkerFailedError(f"process {self.number} of this run ended with {how}", said)


class Workers:
    """The other processes of this run; none until they are started."""

    def __init__(self) -> None:
        self._all: list[Worker] = []
        self._over, self._noticed = threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    def __bool__(self) -> bool:
        """Say whether they have been started."""
        return bool(self._all)

    def start(self, n_processes: int, variables: Mapping[str, str]) -> None:
        """Start this command again, once for each process but the first, and watch over them.

        Args:
            n_processes: how many processes there are to be, with this one.
            variables: what all of them find in their environment; ``{number}`` in a value is the process's own.
        """
        self._over.clear()
        signal.signal(_SIGNAL, self._fail)
        self._scratch = tempfile.TemporaryDirectory(prefix="plmdepth-")  # theirs: who is killed clears nothing away
        for number in range(1, n_processes):
            own = {name: value.format(number=number) for name, value in variables.items()}
            words = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process lives)
            process = subprocess.Popen(
                [sys.executable, *sys.orig_argv[1:]],
                env=os.environ | own | {NUMBER: str(number), "TMPDIR": self._scratch.name},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
                start_new_session=True,  # an interruption from the keyboard comes to the first process alone
            )
            self._all.append(Worker(number, process, words))
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Have a worker's error raised where this process's own only shows that the worker is gone."""
        try:
            yield
        except (InputError, WorkerFailedError):
            raise
        except Exception as error:
            if self._over.is_set():
                raise
            self._over.set()  # nothing is raised from beside any more
            if (worker := self._failed_within(_patience_with(error))) is not None:
                raise worker.error() from None
            raise

    def end(self, patience: float = 0.0) -> None:
        """Watch no longer, and end those that do not end by themselves.

        Args:
            patience: seconds that they are given.
        """
        self._over.set()
        last = time.monotonic() + patience
        for worker in self._all:
            try:
                worker.process.wait(max(0.0, last - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_EVERY):
            if (failed := self._failed()) is not None:
                self._error = failed.error()
                signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)
                if not self._noticed.wait(_GRACE) and not self._over.is_set():
                    self._end_at_once(self._error)
                return

    def _failed(self) -> Worker | None:
        return next((worker for worker in self._all if worker.process.poll()), None)

    def _failed_within(self, seconds: float) -> Worker | None:
        """Return a worker that fails before the time is over."""
        last = time.monotonic() + seconds
        while self._all and (failed := self._failed()) is None and time.monotonic() < last:
            time.sleep(_LOOK_EVERY)
        return failed if self._all else None

    def _fail(self, *_: Any) -> None:
        """Raise the worker's error in the main thread: the run unwinds as from an error of its own."""
        self._noticed.set()
        if self._error is not None and not self._over.is_set():
            raise self._error

    def _end_at_once(self, error: Exception) -> None:
        """End this process from beside: its main thread is in a call that waits for the worker and never comes back."""
        say_last_words(f"{type(error).__name__}: {error}")
        said, code = (f"error: {error}", WRONG_INPUT) if isinstance(error, InputError) else (f"failed: {error}", 1)
        print(getattr(error, "said", ""), said, sep="", file=sys.stderr, flush=True)
        self.end()
        os._exit(code)


WORKERS = Workers()


def _patience_with(error: Exception) -> float:
    """Return how many seconds a worker may take to end before an error is this process's own."""
    return 30.0 if any(word in str(error).lower() for word in ("connection", "nccl")) else 2.0


def end_with_the_first() -> None:
    """Let this process, which is not the first, end when the first one is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
