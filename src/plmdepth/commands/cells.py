"""Finishing one cell, of either entry point: run it unless its record is there, draw it, track it."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from plmdepth.cells.cell import Cell, run_cell
from plmdepth.commands.objects import build
from plmdepth.commands.shared import ALONE, is_shared
from plmdepth.errors import InputError
from plmdepth.report.views import draw
from plmdepth.results.collectives import wait_for_all
from plmdepth.results.processes import is_first
from plmdepth.results.record import is_finished, read_record
from plmdepth.results.tracking import NoTracking, Tracking


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
        """Return what a configuration asks for; the first process alone tracks."""
        tracking = build(config, "tracking")
        shared = is_shared(config)
        return cls(Path(config.outputs), config.force, shared, tracking if is_first() else NoTracking(), console)

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
            note = f"{cell.identity} was done before and is not run again; force=true repeats it"
            self.console.print(f"  {note}", style="yellow", soft_wrap=True)
            return folder
        for part in cell.parts:
            place = self.finish(*part)
            self.console.print(f"  part: {place}", highlight=False, markup=False, soft_wrap=True)
        if cell.announcement:
            self.console.print(f"  {cell.announcement}", highlight=False, markup=False, soft_wrap=True)
        with self.tracking.run(cell.identity) as sink:
            run_cell(cell, folder, config)
            if is_first():
                self._draw(folder)
                sink.publish(read_record(folder))
        wait_for_all()
        return folder

    def _draw(self, folder: Path) -> None:
        """Add figures; a record without them is whole."""
        try:
            draw(folder)
        except Exception as error:  # noqa: BLE001 (whatever is wrong with a figure, the numbers are there)
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            note = f"the figures could not be drawn ({reason}); the record is whole"
            self.console.print(f"  note: {note}", style="yellow", highlight=False, markup=False, soft_wrap=True)
