"""``train.py probe=...``: one probe cell from its configuration."""

from functools import partial
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from plmdepth.analysis.run import check_objective, readable
from plmdepth.commands.cells import Cell, finished
from plmdepth.commands.contacts import probe_contacts
from plmdepth.commands.heads import train_heads
from plmdepth.commands.objects import build, check_run_options, options
from plmdepth.commands.trainers import build_trainer
from plmdepth.probes.contacts.recipe import ContactRecipe
from plmdepth.probes.layerwise.recipe import HeadRecipe
from plmdepth.report.terminal import print_record
from plmdepth.results.record import read_record
from plmdepth.tuned_lens.run import LensCell, run_lens_cell


def fit_probe(config: DictConfig, console: Console) -> Path:
    """Run the cell unless its record is there, then show it and how the lens is used; return the record's folder."""
    recipe = build(config, "probe")
    if isinstance(recipe, HeadRecipe):
        return train_heads(config, recipe, console)
    if isinstance(recipe, ContactRecipe):
        return probe_contacts(config, recipe, console)
    cell = configured_probe(config)
    folder = finished(Cell(cell.identity, partial(run_lens_cell, cell)), config, console)
    print_record(read_record(folder), console)
    use = f"python analyze.py model={cell.model.name} metric=logit_lens lens=tuned lens.path={folder / 'lens'}"
    console.print(f"  read with it: {use}", highlight=False, markup=False, soft_wrap=True)
    return folder


def configured_probe(config: DictConfig) -> LensCell:
    """Turn a configuration into the objects of one probe cell.

    Raises:
        InputError: something in the configuration is wrong.
    """
    check_run_options(config)
    recipe, objective, dataset = build(config, "probe"), build(config, "objective"), build(config, "dataset")
    model = build(config, "model").resolved()
    check_objective(model, objective)
    return LensCell(
        model=model,
        dataset=dataset,
        proteins=readable(model, dataset.proteins(model.max_length, config.seed)),
        objective=objective,
        recipe=recipe,
        trainer=build_trainer(config),
        seed=config.seed,
        options={group: options(config, group) for group in ("objective", "probe")}
        | {"precision": config.trainer.precision},
    )
