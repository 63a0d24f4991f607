"""``metric=early_exit probe_run=PATH``: a trained probe, left early."""

from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from plmdepth.commands.cells import Cell
from plmdepth.commands.heads import configured_heads
from plmdepth.commands.objects import build, check_run_options, options
from plmdepth.early_exit.options import EarlyExitStudy
from plmdepth.early_exit.run import ExitCell, run_exit_cell
from plmdepth.errors import InputError
from plmdepth.probes.layerwise.recipe import HeadRecipe
from plmdepth.report.exit_figures import write_exit_figures
from plmdepth.report.published import write_published
from plmdepth.results.record import is_finished

_FROM_THE_RUN = ("model", "dataset", "objective", "control", "lens", "seed")
_OF_EARLY_EXIT = ("probe_run", "predict", "predict_to")
_OF_PREDICTION = ("threshold", "fallback")  # of the metric; the study tries all, so that they decide nothing in it
_WITHOUT_NUMBERS = (*_OF_PREDICTION, "memory_gigabytes")


def is_early_exit(config: DictConfig) -> bool:
    """Say whether the metric is early exit.

    Raises:
        InputError: it is not, and an option of it is set.
    """
    found = bool(config.metric._target_.endswith(EarlyExitStudy.__name__))
    given = [key for key in _OF_EARLY_EXIT if config[key] is not None]
    if given and not found:
        raise InputError(f"{given[0]} is an option of metric=early_exit; add metric=early_exit or leave {given[0]} out")
    return found


def exit_cell(config: DictConfig) -> Cell:
    """Return the cell of an early-exit study.

    Raises:
        InputError: something in the configuration is wrong.
    """
    given = [f"metric.{key}" for key in _OF_PREDICTION if config.metric[key] is not None]
    if given or config.predict_to is not None:
        raise InputError(f"{(given or ['predict_to'])[0]} is for predictions; add predict=FASTA or leave it out")
    cell = configured_exit(config, probe_run(config))
    return Cell(cell.identity, partial(run_exit_cell, cell, draw=_draw))


def _draw(folder: Path) -> None:
    """Add figures, and what is published of the model and the task."""
    write_exit_figures(folder)
    write_published(folder)


def configured_exit(config: DictConfig, known: DictConfig) -> ExitCell:
    """Turn a configuration into the objects of an early-exit study.

    Args:
        config: the configuration.
        known: that of the probe's run, which model and data are taken from.
    """
    check_run_options(config)
    recipe = build(known, "probe")
    if not isinstance(recipe, HeadRecipe):
        raise InputError(f"probe_run={config.probe_run} is no run of heads; choose one of probe=linear or mlp")
    deciding = {key: value for key, value in options(config, "metric").items() if key not in _WITHOUT_NUMBERS}
    return ExitCell(configured_heads(known, recipe), _folder(config), build(config, "metric"), deciding)


def probe_run(config: DictConfig) -> DictConfig:
    """Return the configuration of the probe's run, on this run's machine.

    Raises:
        InputError: there is no such run, or something is given that it has decided.
    """
    if not config.probe_run:
        raise InputError("metric=early_exit needs a trained probe; give probe_run=PATH, the record that train.py left")
    run = _folder(config)
    if is_finished(run) and not (run / "heads.safetensors").exists():
        raise InputError(f"probe_run={config.probe_run} is no run of heads; choose one of probe=linear or mlp")
    if not is_finished(run):
        raise InputError(
            f"probe_run={config.probe_run} holds no finished probe; give the folder that train.py named as its record"
        )
    typed = [each.partition("=")[0].partition(".")[0] for each in HydraConfig.get().overrides.task]
    taken = sorted({*typed} & {*_FROM_THE_RUN})
    if taken:
        raise InputError(f"metric=early_exit takes {taken[0]} from probe_run; leave {taken[0]}=... out")
    known: Any = OmegaConf.load(run / "config.yaml")
    known.merge_with({"trainer": config.trainer, "outputs": config.outputs, "force": config.force})
    return known


def _folder(config: DictConfig) -> Path:
    return Path(str(config.probe_run)).expanduser()
