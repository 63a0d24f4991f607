"""``train.py``: one training cell from its configuration: a model, or a probe of a frozen one."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from plmdepth.analysis.run import check_objective
from plmdepth.commands.objects import build, check_run_options, options
from plmdepth.commands.probe import fit_probe
from plmdepth.commands.quiet import quiet_libraries
from plmdepth.commands.trainers import build_trainer
from plmdepth.errors import InputError
from plmdepth.pretraining.run import Pretraining, run_pretraining
from plmdepth.proteins.datasets.demo import DemoDataset
from plmdepth.results.record import is_finished


@quiet_libraries()
def train(config: DictConfig, console: Console) -> Path:
    """Run the cell unless its record is there, then show the model card or the curves; return its folder."""
    if "probe" in config:
        return fit_probe(config, console)
    cell = configured_pretraining(config)
    identity = cell.identity
    folder = identity.folder(Path(config.outputs))
    if is_finished(folder) and not config.force:
        console.print(
            f"{identity} was done before and is not run again; force=true repeats it", style="yellow", soft_wrap=True
        )
    else:
        run_pretraining(cell, folder, OmegaConf.to_yaml(config, resolve=True))
    console.print((folder / "weights" / "README.md").read_text(encoding="utf-8"), highlight=False, markup=False)
    console.print(f"weights: {folder / 'weights'}", highlight=False, soft_wrap=True)
    return folder


def configured_pretraining(config: DictConfig) -> Pretraining:
    """Turn a configuration into the objects of one pretraining cell.

    Raises:
        InputError: something in the configuration is wrong.
    """
    check_run_options(config)
    model, objective, dataset = build(config, "model"), build(config, "objective"), build(config, "dataset")
    if not isinstance(dataset, DemoDataset):
        raise InputError("pretraining needs dataset=demo: only there is the best possible loss known")
    check_objective(model, objective)
    return Pretraining(
        model=model,
        dataset=dataset,
        objective=objective,
        recipe=build(config, "training"),
        trainer=build_trainer(config),
        seed=config.seed,
        options={group: options(config, group) for group in ("objective", "training")}
        | {"precision": config.trainer.precision},
    )
