"""``train.py probe=contact``: contacts from the attention of every layer, from their configuration."""

from functools import partial
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from plmdepth.commands.cells import Cell, finished
from plmdepth.commands.dataset_options import options_of
from plmdepth.commands.objects import build, check_run_options, options
from plmdepth.commands.trainers import build_trainer
from plmdepth.errors import InputError
from plmdepth.probes.contacts.recipe import ContactRecipe
from plmdepth.probes.contacts.run import ContactCell, check_contacts, run_contact_cell
from plmdepth.probes.readable import check_readable
from plmdepth.proteins.datasets.contact import ContactDataset
from plmdepth.report.contact_figure import write_contact_figure
from plmdepth.report.contact_ranking import print_contact_ranking
from plmdepth.results.record import read_record

_WITHOUT_NUMBERS = ("gigabytes",)  # decides how often proteins are run, never a number


def probe_contacts(config: DictConfig, recipe: ContactRecipe, console: Console) -> Path:
    """Run the cell unless its record is there, then show which layer holds the contacts; return its folder."""
    cell = configured_contacts(config, recipe)
    folder = finished(Cell(cell.identity, partial(_run, cell, console)), config, console)
    print_contact_ranking(read_record(folder), console)
    return folder


def _run(cell: ContactCell, console: Console, folder: Path, config: str) -> None:
    console.print(f"  {cell.plan()}", highlight=False, markup=False, soft_wrap=True)
    run_contact_cell(cell, folder, config, draw=write_contact_figure)


def configured_contacts(config: DictConfig, recipe: ContactRecipe) -> ContactCell:
    """Turn a configuration into the objects of one contact cell.

    Raises:
        InputError: something in the configuration is wrong.
    """
    check_run_options(config)
    dataset = build(config, "dataset")
    if not isinstance(dataset, ContactDataset):
        raise InputError(f"dataset={dataset.name} has no contacts; these have: {options_of(ContactDataset)}")
    model = build(config, "model").resolved()
    check_readable(model)
    task = dataset.load_task(model.max_length, config.seed)
    check_contacts(task)
    deciding = {key: value for key, value in options(config, "probe").items() if key not in _WITHOUT_NUMBERS}
    return ContactCell(
        model=model,
        task=task,
        recipe=recipe,
        trainer=build_trainer(config),
        seed=config.seed,
        options={"probe": deciding},
        tokens_per_batch=dataset.tokens_per_batch,
    )
