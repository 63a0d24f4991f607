"""What both entry points share: help, checks, the grid of cells, the summary and the exit code."""

import gc
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from plmdepth.commands.failures import failure, storage_reason
from plmdepth.commands.flags import check_flags, split_arguments
from plmdepth.commands.former import note_on, of_today
from plmdepth.commands.help import help_text
from plmdepth.commands.overrides import check_overrides
from plmdepth.commands.paths import with_quoted_paths
from plmdepth.commands.shared import check_alone, is_shared
from plmdepth.commands.streams import never_fail_at_a_letter
from plmdepth.commands.sweeps import deferred, expanded, is_sweep, plan
from plmdepth.errors import InputError
from plmdepth.report.comparison import comparison_csv, print_comparison, read_row
from plmdepth.results.atomic import write_text
from plmdepth.results.identity import place_of
from plmdepth.results.processes import is_first
from plmdepth.results.workers import WORKERS, end_with_the_first

DONE, FAILED, WRONG_INPUT = 0, 1, 2
_MOST_NAMES = 3  # of measurements in the name of a comparison
_PATIENCE = 30.0  # seconds that the other processes of a run are given to end

Task = Callable[[DictConfig, Console], Path]
"""Runs one cell and returns the folder of its record."""


@dataclass(frozen=True)
class Outcome:
    """How one cell ended: with a record, or with a message."""

    cell: str
    code: int
    message: str = ""
    folder: Path | None = None


def main(conf: Path, entry: str, task: Task) -> int:
    """Run an entry point on the command line's arguments and return the exit code.

    Args:
        conf: the folder of configurations.
        entry: the name of the primary configuration.
        task: what one cell does.
    """
    if not is_first():
        end_with_the_first()
    code = FAILED
    try:
        code = _main(conf, entry, task)
    finally:
        WORKERS.end(patience=_PATIENCE if code == DONE else 0)
    return code


def _main(conf: Path, entry: str, task: Task) -> int:
    flags, overrides = split_arguments(sys.argv[1:])
    never_fail_at_a_letter()
    console = Console(markup=False, emoji=False)  # a path may hold [brackets] and :colons:
    if {"-h", "--help"} & set(flags):
        console.print(help_text(conf, entry), highlight=False, markup=False, soft_wrap=True)
        return DONE
    outcomes: list[Outcome] = []
    try:
        check_flags(flags)
        overrides = _planned(conf, entry, flags, overrides, console)
        sys.argv[1:] = [*flags, *overrides]
        _run_hydra(conf, entry, lambda config: outcomes.append(_attempt(task, config, console)))
    except (InputError, HydraException, OmegaConfBaseException) as error:
        return _refuse(str(error))
    except (KeyboardInterrupt, SystemExit) as stop:
        if not _is_interruption(stop):
            raise
        print("stopped; the same command starts again, with what is kept already", file=sys.stderr)
        return FAILED
    codes = {outcome.code for outcome in outcomes}
    if len(outcomes) > 1:
        codes.add(_compare(outcomes, console))
    return FAILED if FAILED in codes else max(codes, default=DONE)


def _is_interruption(stop: BaseException) -> bool:
    """Say whether the keyboard stopped the run; the trainer turns that into an exit."""
    return isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt)


def _planned(conf: Path, entry: str, flags: list[str], overrides: list[str], console: Console) -> list[str]:
    """Check the overrides, show what a sweep will run, and return them with families replaced by their scales."""
    today = of_today(overrides)
    if note := note_on(entry, flags, overrides, today):
        console.print(f"  note: {note}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    overrides = expanded(conf, flags, with_quoted_paths(today, is_sweep(flags)))
    check_overrides(conf, entry, overrides)
    check_alone(flags, overrides)
    if not is_sweep(flags):
        return overrides
    console.print(plan(conf, entry, overrides))
    return deferred(overrides)


def _run_hydra(conf: Path, entry: str, job: Callable[[DictConfig], None]) -> None:
    """Let Hydra compose the configuration of every cell and call the job on each."""
    with _environment(HYDRA_FULL_ERROR="1"):  # errors come to us instead of being printed
        hydra.main(version_base="1.3", config_path=str(conf), config_name=entry)(job)()


def _attempt(task: Task, config: DictConfig, console: Console) -> Outcome:
    """Run one cell; whatever happens, the sweep goes on."""
    name = f"{config.model.name} x {config.dataset.name}"
    try:
        _check_shared(config)
        return Outcome(name, DONE, folder=task(config, console))
    except InputError as error:
        return Outcome(name, _refuse(str(error)), str(error))
    except OSError as error:
        if (reason := storage_reason(error)) is None:
            return _failed(name, failure(error, Path(str(config.outputs))))
        message = f"cannot write the record: {reason}; nothing was lost, give outputs=DIR"
        return Outcome(name, _refuse(message), message)
    except Exception as error:  # noqa: BLE001 (any failure of a cell is reported and the sweep goes on)
        return _failed(name, failure(error, Path(str(config.outputs))))
    finally:
        gc.collect()  # the model of a cell goes before the next one comes


def _check_shared(config: DictConfig) -> None:
    """Refuse what several processes cannot share."""
    if is_shared(config):
        from plmdepth.commands.ddp import check_shared  # noqa: PLC0415 (other cells need none of it)

        check_shared(config)


def _failed(name: str, message: str) -> Outcome:
    print(f"failed: {message}", file=sys.stderr)
    return Outcome(name, FAILED, message)


def _refuse(message: str) -> int:
    print("error:", " ".join(message.split()), file=sys.stderr)
    return WRONG_INPUT


def _compare(outcomes: list[Outcome], console: Console) -> int:
    """Show the cells of a sweep side by side and keep their scalars beside the records; return the exit code."""
    folders = [outcome.folder for outcome in outcomes if outcome.folder is not None]
    rows = [read_row(folder) for folder in folders]
    print_comparison(rows, [(each.cell, each.message) for each in outcomes if each.folder is None], console)
    if not (table := comparison_csv(rows)):
        return DONE
    place = place_of(folders[0])
    of_this_sweep = hashlib.sha256("".join(sorted(folder.name for folder in folders)).encode()).hexdigest()[:8]
    name = "-".join([*dict.fromkeys(row.place.measurement for row in rows)][:_MOST_NAMES])
    latest, own = place.outputs / "comparison.csv", place.outputs / "comparisons" / f"{name}-{of_this_sweep}.csv"
    path = own
    try:
        own.parent.mkdir(parents=True, exist_ok=True)
        for path in (own, latest):
            write_text(path, table)
    except OSError as error:
        return _refuse(f"cannot write {path}: {storage_reason(error) or error}; the records are whole")
    console.print(f"  comparison: {own} (the latest: {latest})", highlight=False, soft_wrap=True)
    return DONE


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
