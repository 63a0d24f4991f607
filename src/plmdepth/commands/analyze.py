"""``analyze.py``: one cell that measures, or a trained probe that is left early."""

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from plmdepth.analysis.run import cell_of
from plmdepth.commands.cells import Finisher
from plmdepth.commands.context import analysis_context
from plmdepth.commands.predict import predict
from plmdepth.commands.quiet import quiet_libraries
from plmdepth.errors import InputError
from plmdepth.report.views import show


@quiet_libraries()
def analyze(config: DictConfig, console: Console) -> Path:
    """Run the cell unless its record is there, then show it; or predict. Return the folder of what was written."""
    run = analysis_context(config)
    if config.predict is not None:
        return predict(run, config, console)
    if config.predict_to is not None:
        raise InputError("predict_to is for predictions; add predict=FASTA or leave it out")
    folder = Finisher.of(config, console).finish(cell_of(run), run.config)
    show(folder, console)
    return folder
