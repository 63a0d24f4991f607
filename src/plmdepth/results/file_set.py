"""Files that belong together: all of them are there, or the first is not."""

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def writing_set(targets: Sequence[Path]) -> Iterator[Sequence[Path]]:
    """Open files that are published as a set; the context yields the paths to write, with the same endings.

    On a normal exit they take their places, the first of them last and as the last thing that is done: where it is, all
    are there and of one run, wherever a run was killed. An older set goes when the new one is whole. On an exception
    nothing is left of the new set. What killed runs left beside the targets is removed.

    Args:
        targets: the files; the first is the one that says that the set is whole.
    """
    staged = [target.with_name(f".{os.getpid()}.partial.{target.name}") for target in targets]
    published: list[Path] = []
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_what_killed_runs_left(target)
    try:
        yield staged
        for source in staged:
            with source.open("rb") as file:
                os.fsync(file.fileno())
        targets[0].unlink(missing_ok=True)
        for source, target in reversed(list(zip(staged, targets, strict=True))):
            source.replace(target)
            published.append(target)
    except BaseException:
        for path in (*staged, *published):
            path.unlink(missing_ok=True)
        raise


def _remove_what_killed_runs_left(target: Path) -> None:
    for path in target.parent.glob(f".*.partial.{glob.escape(target.name)}"):
        number = path.name.split(".")[1]
        if number.isdecimal() and not _other_process_runs(int(number)):
            path.unlink(missing_ok=True)


def _other_process_runs(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return number != os.getpid()
