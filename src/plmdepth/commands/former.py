"""Forms of a command line that were once the right ones: still read, and the form of today is said."""

import shlex
from collections.abc import Sequence

_EXIT_AS_METRIC = "metric=early_exit"


def of_today(overrides: Sequence[str]) -> list[str]:
    """Return overrides in the form of today.

    >>> of_today(["metric=early_exit", "metric.threshold=0.9"])
    ['exit=early', 'exit.threshold=0.9']
    """
    if _EXIT_AS_METRIC not in overrides:
        return list(overrides)
    return ["exit=early" if each == _EXIT_AS_METRIC else _key_of_exit(each) for each in overrides]


def note_on(entry: str, flags: Sequence[str], before: Sequence[str], now: Sequence[str]) -> str:
    """Return what is said of a former form; empty where there was none."""
    if list(before) == list(now):
        return ""
    return f"early exit is no metric any more; write {shlex.join(['python', f'{entry}.py', *flags, *now])}"


def _key_of_exit(override: str) -> str:
    key = override.lstrip("+~")
    return override.replace("metric.", "exit.", 1) if key.startswith("metric.") else override
