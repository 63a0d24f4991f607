"""``metric=effective_depth``: each part is a cell as if it had been asked for alone; its record is run or reused."""

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from plmdepth.analysis.effective_depth import depth_identity, write_effective_depth
from plmdepth.analysis.run import Analysis, run_analysis
from plmdepth.commands.cells import Cell, finished
from plmdepth.commands.measurement import check_lens, configured_analysis, has_lens
from plmdepth.commands.objects import build
from plmdepth.results.record import read_record

_PLAIN_LENS = {"_target_": "plmdepth.metrics.lens.PlainLens"}


def combined_cell(config: DictConfig, name: str, console: Console) -> Cell:
    """Return the cell that puts the records of its parts together.

    Args:
        config: the composed configuration.
        name: the option that its metric is.
        console: where it is said how the parts went.

    Raises:
        InputError: something in the configuration is wrong.
    """
    configs = part_configs(config, name)
    analyses = {part: configured_analysis(alone, part) for part, alone in configs.items()}
    identity = depth_identity(name, {part: analysis.identity for part, analysis in analyses.items()})

    def write(folder: Path, resolved: str) -> None:
        folders = {part: _part(analyses[part], alone, console) for part, alone in configs.items()}
        records = {part: read_record(place) for part, place in folders.items()}
        write_effective_depth(identity, records, folder, resolved)

    return Cell(identity, write)


def part_configs(config: DictConfig, name: str) -> Mapping[str, DictConfig]:
    """Return the configuration of every part, as ``metric=<part>`` alone would have composed it."""
    build(config, "lens")  # before the parts that hold it, so that what is missing is told by its own name
    parts = build(config, "metric").parts
    check_lens(config, name)
    return {part: _alone(config, part) for part in parts}


def _alone(config: DictConfig, part: str) -> DictConfig:
    alone = deepcopy(config)
    alone.metric = config.metric.parts[part]
    if not has_lens(alone):
        alone.lens = _PLAIN_LENS  # a lens that another part reads through is none of its business
    return alone


def _part(analysis: Analysis, config: DictConfig, console: Console) -> Path:
    folder = finished(Cell(analysis.identity, partial(run_analysis, analysis)), config, console)
    console.print(f"  part: {folder}", highlight=False, soft_wrap=True)
    return folder
