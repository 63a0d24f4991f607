"""``metric=early_exit probe_run=PATH``: a trained probe, left early; with ``predict=FASTA``, on new proteins."""

from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from plmdepth.commands.cells import Cell
from plmdepth.commands.heads import configured_heads
from plmdepth.commands.objects import build, check_run_options, options
from plmdepth.errors import InputError
from plmdepth.probes.exits.run import ExitCell, run_exit_cell
from plmdepth.probes.layerwise.recipe import HeadRecipe
from plmdepth.results.record import is_finished

_FROM_THE_RUN = ("model", "dataset", "objective", "control", "lens")


def exit_cell(config: DictConfig) -> Cell:
    """Return the cell of an early-exit study.

    Raises:
        InputError: something in the configuration is wrong.
    """
    cell = configured_exit(config)
    return Cell(cell.identity, partial(run_exit_cell, cell))


def configured_exit(config: DictConfig) -> ExitCell:
    """Turn a configuration into the objects of an early-exit study; model and data are those of the probe's run."""
    check_run_options(config)
    run = _probe_run(config)
    known: Any = OmegaConf.load(run / "config.yaml")
    known.merge_with({"trainer": config.trainer, "outputs": config.outputs, "force": config.force})
    recipe = build(known, "probe")
    if not isinstance(recipe, HeadRecipe):
        raise InputError(f"probe_run={run} is no run of heads; choose one of probe=linear or mlp")
    return ExitCell(configured_heads(known, recipe), run, build(config, "metric"), options(config, "metric"))


def _probe_run(config: DictConfig) -> Path:
    if not config.probe_run:
        raise InputError("metric=early_exit needs a trained probe; give probe_run=PATH, the record that train.py left")
    run = Path(config.probe_run).expanduser()
    if not is_finished(run) or not (run / "heads.safetensors").exists():
        raise InputError(f"probe_run={run} holds no finished probe; give the folder that train.py named as its record")
    typed = [each.partition("=")[0].partition(".")[0] for each in HydraConfig.get().overrides.task]
    taken = sorted({*typed} & {*_FROM_THE_RUN})
    if taken:
        raise InputError(f"metric=early_exit takes {taken[0]} from probe_run; leave {taken[0]}=... out")
    return run
