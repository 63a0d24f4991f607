"""Finishing one cell, of either entry point: run it unless its record is there, then draw and track it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from plmdepth.cells.cell import Cell, run_cell
from plmdepth.commands.objects import build
from plmdepth.commands.shared import ALONE, is_shared
from plmdepth.errors import InputError
from plmdepth.report.views import draw
from plmdepth.results.collectives import wait_for_all
from plmdepth.results.identity import Identity
from plmdepth.results.processes import is_first
from plmdepth.results.record import is_finished, read_record
from plmdepth.results.tracking import NoTracking, Tracking

_LONGEST = 300  # letters of a reason


@dataclass(frozen=True)
class Finisher:
    """How cells are run, which decides no number.

    Attributes:
        outputs: the folder of all records.
        force: whether a finished cell is run again.
        shared: whether several processes share it.
        tracking: where records are also sent.
        console: where it is said how it went.
    """

    outputs: Path
    force: bool
    shared: bool
    tracking: Tracking
    console: Console

    @classmethod
    def of(cls, config: DictConfig, console: Console) -> "Finisher":
        """Return what a configuration asks for; the first process alone tracks.

        Raises:
            InputError: tracking would be in vain.
        """
        tracking: Tracking = build(config, "tracking") if is_first() else NoTracking()
        tracking.check()
        return cls(Path(config.outputs), config.force, is_shared(config), tracking, console)

    def finish(self, cell: Cell, config: str) -> Path:
        """Run a cell unless its record is there, after the cells whose records it reads; return its folder.

        Where several processes share the cell, all come here and go on when the first one has written the record.

        Raises:
            InputError: it cannot be run.
        """
        if self.shared and not cell.shared:
            raise InputError(f"{cell.identity.measurement} {ALONE}")
        folder = cell.identity.folder(self.outputs)
        if is_finished(folder) and not self.force:
            self._say(f"{cell.identity} was done before and is not run again; force=true repeats it", style="yellow")
        else:
            for part in cell.parts:
                self._say(f"part: {self.finish(*part)}")
            if cell.announcement:
                self._say(cell.announcement)
            run_cell(cell, folder, config)
            if is_first():
                self._try(draw, folder, "the figures could not be drawn")
        self._try(partial(self._track, cell.identity), folder, "tracking has failed, the same command tries again")
        wait_for_all()
        return folder

    def _track(self, identity: Identity, folder: Path) -> None:
        with self.tracking.run(identity) as sink:
            sink.publish(read_record(folder))

    def _try(self, work: Callable[[Path], None], folder: Path, what: str) -> None:
        """Do what follows a record; the record is whole without it."""
        try:
            work(folder)
        except Exception as error:  # noqa: BLE001 (whatever it is, the numbers are there)
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self._say(f"note: {what} ({reason[:_LONGEST]}); the record is whole", style="yellow")

    def _say(self, sentence: str, style: str | None = None) -> None:
        self.console.print(f"  {sentence}", style=style, highlight=False, markup=False, soft_wrap=True)
