"""``train.py probe=...``: one probe cell from its configuration."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from plmdepth.analysis.run import check_objective
from plmdepth.commands.objects import build, check_run_options, options
from plmdepth.commands.trainers import build_trainer
from plmdepth.probes.run import LensCell, run_lens_cell
from plmdepth.report.terminal import print_record
from plmdepth.results.record import is_finished, read_record
from plmdepth.results.tracking import Tracking


def fit_probe(config: DictConfig, console: Console) -> str:
    """Run the cell unless its record is there, then show it and how the lens is used."""
    cell = configured_probe(config)
    tracking: Tracking = build(config, "tracking")
    identity = cell.identity
    folder = identity.folder(Path(config.outputs))
    if is_finished(folder) and not config.force:
        note = f"{identity} was done before and is not run again; force=true repeats it"
        console.print(f"  {note}", style="yellow", soft_wrap=True)
    else:
        with tracking.run(identity) as sink:
            run_lens_cell(cell, folder, OmegaConf.to_yaml(config, resolve=True))
            sink.publish(read_record(folder))
    print_record(read_record(folder), console)
    use = f"python analyze.py model={cell.model.name} metric=logit_lens lens=tuned lens.path={folder / 'lens'}"
    console.print(f"  read with it: {use}", highlight=False, markup=False, soft_wrap=True)
    return str(identity)


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
        proteins=dataset.proteins(model.max_length, config.seed),
        objective=objective,
        recipe=recipe,
        trainer=build_trainer(config),
        seed=config.seed,
        options={group: options(config, group) for group in ("objective", "probe")}
        | {"precision": config.trainer.precision},
    )
