"""Configuration into the objects of one run: what is asked for, the model, the data and the trainer."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from plmdepth.cells.context import RunContext, Trained
from plmdepth.commands.dataset_options import options_of
from plmdepth.commands.objects import build, check_run_options, options
from plmdepth.commands.trainers import build_trainer
from plmdepth.controls.control import Control
from plmdepth.errors import InputError
from plmdepth.results.record import is_finished

_PLAIN_LENS = {"_target_": "plmdepth.metrics.lens.PlainLens"}
_FROM_THE_PROBE = ("model", "dataset", "objective", "control", "lens", "seed")
_OF_EXIT = ("probe_run", "predict", "predict_to")


def analysis_context(config: DictConfig) -> RunContext:
    """Return the run of ``analyze.py``: a metric, or a probe that is left early.

    Raises:
        InputError: something in the configuration is wrong.
    """
    check_run_options(config)
    if "exit" in config:
        return _exit_context(config)
    given = [key for key in _OF_EXIT if config[key] is not None]
    if given:
        raise InputError(f"{given[0]} is an option of exit=early; add exit=early or leave {given[0]} out")
    return _metric_context(config, HydraConfig.get().runtime.choices["metric"])


def training_context(config: DictConfig) -> RunContext:
    """Return the run of ``train.py``: a probe of a frozen model, or without one a model.

    Raises:
        InputError: something in the configuration is wrong.
    """
    check_run_options(config)
    return _context(config, "probe" if "probe" in config else "training")


def _context(config: DictConfig, group: str, option: str = "") -> RunContext:
    """Return the objects of a run, with what a group describes as what is asked for."""
    asked = build(config, group)
    control = build(config, "control") if "control" in config else Control()
    objective, dataset, model = (build(config, each) for each in ("objective", "dataset", "model"))
    deciding = {each: options(config, each) for each in (group, "objective", "control") if each in config}
    return RunContext(
        asked=asked,
        option=option,
        model=model,
        dataset=dataset,
        objective=objective,
        control=control,
        trainer=build_trainer(config),
        seed=config.seed,
        outputs=Path(config.outputs),
        deciding=deciding,
        precision=config.trainer.precision,
        datasets_of=options_of,
        config=OmegaConf.to_yaml(config, resolve=True),
    )


def _metric_context(config: DictConfig, option: str) -> RunContext:
    lens = build(config, "lens").digest  # before the metric that holds it, so that what is missing has its own name
    if lens is not None and not _has_lens(config):
        build(config, "metric")
        raise InputError(f"metric={option} reads no state through a lens; leave out lens=tuned")
    run = _context(config, "metric", option)
    deciding = {**run.deciding, "metric": _without_lens(run.deciding["metric"])}
    parts = {part: _metric_context(_alone(config, part), part) for part in getattr(run.asked, "parts", ())}
    return replace(run, deciding=deciding, lens=lens, parts=parts)


def _alone(config: DictConfig, part: str) -> DictConfig:
    """Return the configuration that ``metric=<part>`` alone would have composed."""
    alone = deepcopy(config)
    alone.metric = config.metric.parts[part]
    if not _has_lens(alone):
        alone.lens = _PLAIN_LENS  # a lens that another part reads through is none of its business
    return alone


def _has_lens(config: DictConfig) -> bool:
    """Say whether the metric reads states through a lens."""
    metric = options(config, "metric")
    return metric != _without_lens(metric)


def _without_lens(content: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in content.items() if key != "lens"}
    return {key: _without_lens(value) if isinstance(value, Mapping) else value for key, value in kept.items()}


def _exit_context(config: DictConfig) -> RunContext:
    """Return the run of a trained probe that is left early: model and data are those of the probe's run.

    Raises:
        InputError: there is no such run, or something is given that it has decided.
    """
    if not config.probe_run:
        raise InputError("exit=early needs a trained probe; give probe_run=PATH, the record that train.py left")
    folder = Path(str(config.probe_run)).expanduser()
    if not is_finished(folder):
        raise InputError(
            f"probe_run={config.probe_run} holds no finished probe; give the folder that train.py named as its record"
        )
    if not (folder / "heads.safetensors").exists():
        raise InputError(f"probe_run={config.probe_run} is no run of heads; choose one of probe=linear or mlp")
    typed = [each.partition("=")[0].partition(".")[0] for each in HydraConfig.get().overrides.task]
    if taken := sorted({*typed} & {*_FROM_THE_PROBE}):
        raise InputError(f"exit=early takes {taken[0]} from probe_run; leave {taken[0]}=... out")
    if "metric" in typed:
        raise InputError("exit=early is no metric and measures none beside it; leave metric=... out")
    known: Any = OmegaConf.load(folder / "config.yaml")
    known.merge_with({"trainer": config.trainer, "outputs": config.outputs, "force": config.force})  # of this machine
    trained = Trained(training_context(known), folder)
    asked, resolved = build(config, "exit"), OmegaConf.to_yaml(config, resolve=True)
    deciding = {"exit": options(config, "exit")}
    return replace(trained.run, asked=asked, option="early", deciding=deciding, trained=trained, config=resolved)
