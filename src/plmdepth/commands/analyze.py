"""``analyze.py``: one analysis cell from its configuration."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from plmdepth.analysis.run import Analysis, check_objective, run_analysis
from plmdepth.commands.objects import build, check_run_options, options
from plmdepth.commands.quiet import quiet_libraries
from plmdepth.commands.trainers import build_trainer
from plmdepth.errors import InputError
from plmdepth.report.terminal import print_record
from plmdepth.results.record import is_finished, read_record
from plmdepth.results.tracking import Tracking


@quiet_libraries()
def analyze(config: DictConfig, console: Console) -> str:
    """Run the cell unless its record is there, then show it."""
    analysis = configured_analysis(config)
    tracking: Tracking = build(config, "tracking")
    identity = analysis.identity
    folder = identity.folder(Path(config.outputs))
    if is_finished(folder) and not config.force:
        print_record(read_record(folder), console)
        console.print(
            f"  {identity} was done before and is not run again; force=true repeats it", style="yellow", soft_wrap=True
        )
        return str(identity)
    resolved = OmegaConf.to_yaml(config, resolve=True)
    with tracking.run(identity) as sink:
        run_analysis(analysis, folder, resolved)
        record = read_record(folder)
        sink.publish(record)
    print_record(record, console)
    return str(identity)


def configured_analysis(config: DictConfig) -> Analysis:
    """Turn a configuration into the objects of one cell.

    Raises:
        InputError: something in the configuration is wrong.
    """
    check_run_options(config)
    lens = build(config, "lens")  # before the metric that holds it, so that what is missing is told by its own name
    control, objective, dataset = build(config, "control"), build(config, "objective"), build(config, "dataset")
    model = control.model(build(config, "model").resolved())
    check_objective(model, objective)
    metric = build(config, "metric")
    proteins = dataset.proteins(model.max_length, config.seed)
    return Analysis(
        model=model,
        dataset=dataset,
        proteins=replace(proteins, proteins=control.proteins(proteins.proteins, config.seed)),
        objective=objective,
        metric=metric,
        metric_name=HydraConfig.get().runtime.choices["metric"],
        control=control,
        trainer=build_trainer(config),
        seed=config.seed,
        options=_deciding_options(config, lens.digest),
    )


def _deciding_options(config: DictConfig, lens: str | None) -> dict[str, Any]:
    """Return the options that decide numbers, beside the model and the proteins.

    A lens counts with the hash of its translators, not with its path, and only where there is one.
    """
    groups = {group: options(config, group) for group in ("objective", "metric", "control")}
    metric = _without_lens(groups["metric"])
    if lens is not None and metric == groups["metric"]:
        name = HydraConfig.get().runtime.choices["metric"]
        raise InputError(f"metric={name} reads no state through a lens; leave out lens=tuned")
    tuned = {} if lens is None else {"lens": lens}
    return groups | {"metric": metric} | tuned | {"precision": config.trainer.precision}


def _without_lens(content: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in content.items() if key != "lens"}
    return {key: _without_lens(value) if isinstance(value, Mapping) else value for key, value in kept.items()}
