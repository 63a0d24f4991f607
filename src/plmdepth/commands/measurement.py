"""A configured measurement: the objects of one analysis cell, and what decides its numbers."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig

from plmdepth.analysis.run import Analysis, check_objective, readable
from plmdepth.commands.objects import build, check_run_options, options
from plmdepth.commands.trainers import build_trainer
from plmdepth.errors import InputError


def configured_analysis(config: DictConfig, metric_name: str) -> Analysis:
    """Turn a configuration into the objects of one cell.

    Args:
        config: the composed configuration.
        metric_name: the option that its metric is.

    Raises:
        InputError: something in the configuration is wrong.
    """
    check_run_options(config)
    lens = build(config, "lens")  # before the metric that holds it, so that what is missing is told by its own name
    control, objective, dataset = build(config, "control"), build(config, "objective"), build(config, "dataset")
    model = control.model(build(config, "model").resolved())
    check_objective(model, objective)
    metric = build(config, "metric")
    check_lens(config, metric_name)
    proteins = readable(model, dataset.proteins(model.max_length, config.seed), metric.reads_backbones)
    return Analysis(
        model=model,
        dataset=dataset,
        proteins=replace(proteins, proteins=control.proteins(proteins.proteins, config.seed)),
        objective=objective,
        metric=metric,
        metric_name=metric_name,
        control=control,
        trainer=build_trainer(config),
        seed=config.seed,
        options=_deciding_options(config, lens.digest),
    )


def check_lens(config: DictConfig, metric_name: str) -> None:
    """Refuse a lens through which nothing is read.

    Raises:
        InputError: there is a lens of its own, and the metric has none.
    """
    if build(config, "lens").digest is not None and not has_lens(config):
        raise InputError(f"metric={metric_name} reads no state through a lens; leave out lens=tuned")


def has_lens(config: DictConfig) -> bool:
    """Say whether the metric reads states through a lens."""
    metric = options(config, "metric")
    return metric != _without_lens(metric)


def _deciding_options(config: DictConfig, lens: str | None) -> dict[str, Any]:
    """Return the options that decide numbers, beside the model and the proteins.

    A lens counts with the hash of its translators, not with its path, and only where there is one.
    """
    groups = {group: options(config, group) for group in ("objective", "metric", "control")}
    tuned = {} if lens is None else {"lens": lens}
    return groups | {"metric": _without_lens(groups["metric"])} | tuned | {"precision": config.trainer.precision}


def _without_lens(content: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in content.items() if key != "lens"}
    return {key: _without_lens(value) if isinstance(value, Mapping) else value for key, value in kept.items()}
