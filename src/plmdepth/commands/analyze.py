"""``analyze.py``: one analysis cell from its configuration."""

from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from plmdepth.analysis.run import run_analysis
from plmdepth.commands.cells import Cell, finished
from plmdepth.commands.early_exit import exit_cell, is_early_exit
from plmdepth.commands.effective_depth import combined_cell
from plmdepth.commands.measurement import configured_analysis
from plmdepth.commands.predict import predict
from plmdepth.commands.quiet import quiet_libraries
from plmdepth.report.exit_answers import print_exits
from plmdepth.report.terminal import print_record
from plmdepth.results.record import read_record


@quiet_libraries()
def analyze(config: DictConfig, console: Console) -> Path:
    """Run the cell unless its record is there, then show it; return the folder of the record."""
    leaves_early = is_early_exit(config)
    if config.predict is not None:
        return predict(config, console)
    folder = finished(configured_cell(config, console), config, console)
    (print_exits if leaves_early else print_record)(read_record(folder), console)
    return folder


def configured_cell(config: DictConfig, console: Console) -> Cell:
    """Turn a configuration into a cell: one that measures, or one that puts other cells together.

    Raises:
        InputError: something in the configuration is wrong.
    """
    name = HydraConfig.get().runtime.choices["metric"]
    if is_early_exit(config):
        return exit_cell(config)
    if "parts" in config.metric:
        return combined_cell(config, name, console)
    analysis = configured_analysis(config, name)
    return Cell(analysis.identity, partial(run_analysis, analysis))
