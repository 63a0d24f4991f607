"""``train.py probe=linear | mlp | ...``: heads on all layers, from their configuration."""

from functools import partial
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from plmdepth.commands.cells import Cell, finished
from plmdepth.commands.dataset_options import options_of
from plmdepth.commands.objects import build, check_run_options, options
from plmdepth.commands.trainers import build_trainer
from plmdepth.errors import InputError
from plmdepth.probes.layerwise.cell import ProbeCell, check_task
from plmdepth.probes.layerwise.recipe import HeadRecipe
from plmdepth.probes.layerwise.run import run_probe_cell
from plmdepth.probes.readable import check_readable
from plmdepth.proteins.datasets.labelled import LabelledDataset
from plmdepth.report.probe_figure import write_probe_figures
from plmdepth.report.ranking import print_ranking
from plmdepth.results.record import read_record

_WITHOUT_NUMBERS = ("cache", "cache_gigabytes")  # decide where features are kept, never a number


def train_heads(config: DictConfig, recipe: HeadRecipe, console: Console) -> Path:
    """Run the cell unless its record is there, then show which layer serves the task best; return its folder."""
    cell = configured_heads(config, recipe)
    folder = finished(Cell(cell.identity, partial(_run, cell, console)), config, console)
    print_ranking(read_record(folder), console)
    if recipe.layers is None:
        use = f"python analyze.py metric=early_exit probe_run={folder}"
        console.print(f"  leave early: {use}", highlight=False, markup=False, soft_wrap=True)
    return folder


def _run(cell: ProbeCell, console: Console, folder: Path, config: str) -> None:
    console.print(f"  {cell.plan}", highlight=False, markup=False, soft_wrap=True)
    run_probe_cell(cell, folder, config, draw=write_probe_figures)


def configured_heads(config: DictConfig, recipe: HeadRecipe) -> ProbeCell:
    """Turn a configuration into the objects of one probe cell.

    Raises:
        InputError: something in the configuration is wrong.
    """
    check_run_options(config)
    dataset = build(config, "dataset")
    if not isinstance(dataset, LabelledDataset):
        raise InputError(f"dataset={dataset.name} has no labels; these have: {options_of(LabelledDataset)}")
    if dataset.split != "test":
        raise InputError("a probe learns, chooses and is tested on all splits; leave dataset.split out")
    model = build(config, "model").resolved()
    check_readable(model)
    task = dataset.load_task(model.max_length, config.seed)
    check_task(task, recipe)
    deciding = {key: value for key, value in options(config, "probe").items() if key not in _WITHOUT_NUMBERS}
    cell = ProbeCell(
        model=model,
        task=task,
        recipe=recipe,
        trainer=build_trainer(config),
        seed=config.seed,
        options={"probe": deciding, "precision": config.trainer.precision},
        features=Path(config.outputs) / "features",
        tokens_per_batch=dataset.tokens_per_batch,
    )
    cell.plan.check()  # names wrong layers too
    return cell
