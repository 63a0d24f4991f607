"""What a sweep will run: a family stands for all of its scales, and the plan is shown before it starts."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf
from rich.table import Table

from plmdepth.errors import InputError

_MULTIRUN = ("-m", "--multirun")


def is_sweep(flags: Sequence[str]) -> bool:
    """Say whether a command line asks for several cells."""
    return bool({*_MULTIRUN} & set(flags))


def expanded(conf: Path, flags: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Return the overrides with every family of a sweep replaced by its scales, and ``model=*`` by those of all.

    Raises:
        InputError: a preset of cells is given without the flag that runs several.
    """
    if is_sweep(flags):
        everything = [] if any(each.startswith("model=") for each in overrides) else _every_model(conf, overrides)
        return [_with_scales(conf, override) for override in (*overrides, *everything)]
    for override in overrides:
        if override.startswith("sweep="):
            raise InputError(f"{override} is a set of cells; add -m to run them")
    return list(overrides)


def deferred(overrides: Sequence[str]) -> list[str]:
    """Return the overrides of a sweep with each key below a group as a choice among one value.

    Before it knows the cells, Hydra composes a configuration of all that is not swept, with the default options of
    swept groups: ``-m dataset=ec,go_bp dataset.root=DIR`` would set a key that the default data set lacks. A choice is
    set in the cells alone. It cannot be null.
    """
    return [_as_choice(override) for override in OverridesParser.create().parse_overrides(list(overrides))]


def _as_choice(override: Override) -> str:
    below_a_group = "." in override.key_or_group and not override.key_or_group.startswith("hydra.")
    plain = not (override.is_sweep_override() or override.is_delete() or override.is_add() or override.is_force_add())
    if not (below_a_group and plain) or override.value() is None:
        return str(override.input_line)
    return f"{override.key_or_group}=choice({override.get_value_element_as_str()})"


def scales(conf: Path, option: str) -> list[str]:
    """Return the scales of a family, smallest first; of any other option, the option itself."""
    file = conf / "model" / f"{option}.yaml"
    if not file.exists() or _read(file).get("name", option) == option:
        return [option]
    found = [path.stem for path in file.parent.glob(f"{option}_*.yaml") if _extends(path, option)]
    return sorted(found, key=lambda name: _layers_and_width(conf, name))


def every_scale(conf: Path) -> list[str]:
    """Return every option of ``conf/model`` that reads proteins and is not a family's own name."""
    options = {path.stem: _read(path) for path in conf.glob("model/*.yaml")}
    return sorted(
        option for option, keys in options.items() if keys.get("name", option) == option and keys.get("reads") != "text"
    )


def plan(conf: Path, entry: str, overrides: Sequence[str]) -> Table:
    """Return what a sweep will run: every model with its size, and the number of cells."""
    from plmdepth.language_models.size import GIGABYTE, n_parameters, weight_bytes  # noqa: PLC0415 (help needs no model)

    axes = _axes(conf, entry, overrides)
    models = axes.get("model") or [_default_model(conf, entry, overrides)]
    others = {key: values for key, values in axes.items() if key != "model" and len(values) > 1}
    n_cells = math.prod(len(values) for values in axes.values())
    varied = "".join(f" x {len(values)} of {key}" for key, values in others.items())
    counted = f"{len(models)} model{'s' if len(models) > 1 else ''}"
    table = Table(title=f"{n_cells} cells: {counted}{varied}", title_justify="left")
    for heading, justify in (("model", "left"), ("parameters", "right"), ("weights in memory", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    _check_preset(conf, entry, models, overrides)
    fixed = [each for each in overrides if "," not in each and not each.startswith(("model=", "sweep="))]
    for name, model in _models(conf, entry, models, [each for each in fixed if each.startswith("model.")]):
        table.add_row(name, f"{n_parameters(model) / 1e6:,.1f} M", f"{weight_bytes(model) / GIGABYTE:.2f} GB")
    return table


def _check_preset(conf: Path, entry: str, models: Sequence[str], overrides: Sequence[str]) -> None:
    """Refuse a preset that sets what a model's configuration lacks.

    Raises:
        InputError: it does.
    """
    for preset in (each for each in overrides if each.startswith("sweep=")):
        keys = [key for key in _axes(conf, entry, [preset]) if "." in key]
        for model in models if keys else ():
            with initialize_config_dir(str(conf), version_base="1.3"):
                config = compose(entry, overrides=[f"model={model}"])
            for key in keys:
                if OmegaConf.select(config, key, default=OmegaConf) is OmegaConf:
                    raise InputError(f"{preset} sets {key}, which model={model} lacks; choose models that have it")


def _models(conf: Path, entry: str, names: Sequence[str], overrides: Sequence[str]) -> Iterator[tuple[str, Any]]:
    from plmdepth.commands.objects import build  # noqa: PLC0415

    with initialize_config_dir(str(conf), version_base="1.3"):
        for name in names:
            yield name, build(compose(entry, overrides=[f"model={name}", *overrides]), "model")


def _default_model(conf: Path, entry: str, overrides: Sequence[str]) -> str:
    """Return the model of a command line that names none: an experiment's, or the entry point's own."""
    experiment = [each for each in overrides if each.startswith("experiment=")]
    with initialize_config_dir(str(conf), version_base="1.3"):
        config = compose(entry, overrides=experiment, return_hydra_config=True)
    return str(config.hydra.runtime.choices["model"])


def _axes(conf: Path, entry: str, overrides: Sequence[str]) -> dict[str, list[str]]:
    """Return the values that every swept key takes; those of a preset come first and give way to what is typed."""
    preset = [override for override in overrides if override.startswith("sweep=")]
    with initialize_config_dir(str(conf), version_base="1.3"):
        config = compose(entry, overrides=preset, return_hydra_config=True)
    params: Any = config.hydra.sweeper.params or {}
    texts = [f"{key}={value}" for key, value in params.items()] + [each for each in overrides if each not in preset]
    parsed: list[Override] = OverridesParser.create().parse_overrides(texts)
    return {each.key_or_group: list(_values(each)) for each in parsed if not each.is_delete()}


def _values(override: Override) -> Iterator[str]:
    if override.is_sweep_override():
        yield from (str(value) for value in override.sweep_string_iterator())
    else:
        yield str(override.value())


def _every_model(conf: Path, overrides: Sequence[str]) -> list[str]:
    """Return ``model=*`` if a preset sweeps over it: Hydra cannot tell a family from its scales."""
    files = [conf / "sweep" / f"{each.removeprefix('sweep=')}.yaml" for each in overrides if each.startswith("sweep=")]
    swept = [OmegaConf.select(OmegaConf.load(file), "hydra.sweeper.params.model") for file in files if file.exists()]
    return ["model=*"] if "*" in swept else []


def _with_scales(conf: Path, override: str) -> str:
    key, _, value = override.partition("=")
    if override == "model=*":
        return "model=" + ",".join(every_scale(conf))
    if key != "model" or not value.replace(",", "").replace("_", "").isalnum():
        return override
    return "model=" + ",".join(name for option in value.split(",") for name in scales(conf, option))


def _extends(path: Path, family: str) -> bool:
    return family in _read(path).get("defaults", [])


def _read(path: Path) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(OmegaConf.load(path))
    return dict(content)


def _layers_and_width(conf: Path, option: str) -> tuple[int, int, str]:
    with initialize_config_dir(str(conf), version_base="1.3"):
        model = compose("analyze", overrides=[f"model={option}"]).model
    return model.n_layers, model.width, option
