"""``train.py``: one cell that trains: a model, or a probe of a frozen one."""

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from plmdepth.commands.cells import Finisher
from plmdepth.commands.context import training_context
from plmdepth.commands.quiet import quiet_libraries
from plmdepth.report.views import show


@quiet_libraries()
def train(config: DictConfig, console: Console) -> Path:
    """Run the cell unless its record is there, then show it; return its folder."""
    run = training_context(config)
    folder = Finisher.of(config, console).finish(run.asked.cell(run), run.config)
    show(folder, console)
    return folder
