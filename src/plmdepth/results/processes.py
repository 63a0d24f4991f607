"""Which of a run's processes this one is. Every process does its share of the measuring; the first alone writes."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

NUMBER = "PLMDEPTH_PROCESS"
"""The variable with the number of a process; only a process that a run has started has one."""

_last_words: list[Callable[[str], None]] = []


def number() -> int:
    """Return this process's number in the run; the first one, or the only one, is 0."""
    return int(os.environ.get(NUMBER, "0"))


def is_first() -> bool:
    """Say whether this process writes, prints, draws and tracks."""
    return number() == 0


@contextmanager
def last_words(say: Callable[[str], None]) -> Iterator[None]:
    """While the context is open, have something said where the process must end without unwinding.

    Args:
        say: writes down that the run has failed, given the reason.
    """
    _last_words.append(say)
    try:
        yield
    finally:
        _last_words.remove(say)


def say_last_words(reason: str) -> None:
    """Write down what is to be written before the process ends at once."""
    for say in reversed(_last_words):
        with suppress(OSError):
            say(reason)
