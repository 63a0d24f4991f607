"""Running one cell, of either entry point, unless its record is there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from plmdepth.commands.objects import build
from plmdepth.results.collectives import wait_for_all
from plmdepth.results.identity import Identity
from plmdepth.results.processes import is_first
from plmdepth.results.record import is_finished, read_record
from plmdepth.results.tracking import NoTracking, Tracking


@dataclass(frozen=True)
class Cell:
    """A cell that can be run.

    Attributes:
        identity: what it is.
        write: writes its record to a folder, with the resolved configuration as text.
    """

    identity: Identity
    write: Callable[[Path, str], None]


def finished(cell: Cell, config: DictConfig, console: Console) -> Path:
    """Run a cell unless its record is there, and track it; return the folder of its record.

    Where several processes share the cell, all come here and go on when the first one has written the record.
    """
    tracking = _tracking(config)
    folder = cell.identity.folder(Path(config.outputs))
    if is_finished(folder) and not config.force:
        note = f"{cell.identity} was done before and is not run again; force=true repeats it"
        console.print(f"  {note}", style="yellow", soft_wrap=True)
        return folder
    with tracking.run(cell.identity) as sink:
        cell.write(folder, OmegaConf.to_yaml(config, resolve=True))
        if is_first():
            sink.publish(read_record(folder))
    wait_for_all()
    return folder


def _tracking(config: DictConfig) -> Tracking:
    """Return the tracking of the first process; the others track nothing."""
    tracking: Tracking = build(config, "tracking")
    return tracking if is_first() else NoTracking()
