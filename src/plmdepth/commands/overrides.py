"""Checking a command line before Hydra runs it, so that a slip is one line that names the nearest valid word."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, Sweep
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf

from plmdepth.commands.nearest import nearest
from plmdepth.commands.paths import advice_on
from plmdepth.errors import InputError

_OTHER = {"analyze": "train", "train": "analyze"}


def config_groups(conf: Path) -> dict[str, list[str]]:
    """Return the options of every config group, by group."""
    return {
        folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
        for folder in sorted(conf.iterdir())
        if folder.is_dir()
    }


def check_overrides(conf: Path, entry: str, arguments: Sequence[str]) -> None:
    """Refuse an override of something that is not there.

    Args:
        conf: the folder of configurations.
        entry: the name of the primary configuration.
        arguments: the overrides as typed.

    Raises:
        InputError: an override cannot be parsed, or names an option or a key that does not exist.
    """
    overrides = _parsed(arguments)
    groups = _groups_of(conf, entry)
    _check_entry(conf, entry, overrides, arguments)
    for override in overrides:
        if override.key_or_group in groups:
            _check_options(override, groups[override.key_or_group])
    for choices in _variants([override for override in overrides if override.key_or_group in groups]):
        known = {*_keys(_composed(conf, entry, choices)), *groups}
        for override in overrides:
            _check_key(override, known, choices)


def _parsed(arguments: Sequence[str]) -> list[Override]:
    try:
        return list(OverridesParser.create().parse_overrides(list(arguments)))
    except OverrideParseException as error:
        raise InputError(f"cannot read {error.override!r}; {advice_on(error.override)}") from error


def _check_entry(conf: Path, entry: str, overrides: Sequence[Override], arguments: Sequence[str]) -> None:
    """Refuse what belongs to the other entry point.

    Raises:
        InputError: it does; the message has the command.
    """
    own, other = _heads(conf, entry), _OTHER[entry]
    for override in overrides:
        key = override.key_or_group
        alien = key.partition(".")[0] in _heads(conf, other) - own
        preset = conf / key / f"{override.value()}.yaml"
        if alien or (key == "experiment" and preset.exists() and _overridden(preset) - own):
            whole = shlex.join(["python", f"{other}.py", *arguments])
            raise InputError(f"{override.input_line} is an option of {other}.py; run {whole}")


def _heads(conf: Path, entry: str) -> set[str]:
    """Return the groups and the first words of the keys of an entry point."""
    return {*_groups_of(conf, entry), *(str(key) for key in OmegaConf.load(conf / f"{entry}.yaml"))}


def _overridden(preset: Path) -> set[str]:
    """Return the groups that a preset chooses an option of."""
    defaults = OmegaConf.select(OmegaConf.load(preset), "defaults", default=[])
    words = [str(key).split() for item in defaults if isinstance(item, DictConfig) for key in item]
    return {name[-1].strip("/") for name in words if name[0] == "override"}


def _groups_of(conf: Path, entry: str) -> dict[str, list[str]]:
    """Return the groups that this entry point composes."""
    defaults = OmegaConf.select(OmegaConf.load(conf / f"{entry}.yaml"), "defaults")
    names = {str(key).removeprefix("optional ") for item in defaults if isinstance(item, DictConfig) for key in item}
    return {name: options for name, options in config_groups(conf).items() if name in names}


def _check_key(override: Override, known: set[str], choices: Sequence[str]) -> None:
    key = override.key_or_group
    if key.startswith("hydra.") and key.endswith("._target_"):
        raise InputError(f"{key} would run other code than this package's; leave it out")
    if override.is_delete():
        raise InputError(f"~{key} would leave a hole in the configuration; choose another option instead")
    if override.value() == {}:
        raise InputError(f"{key}={{}} would change nothing; set the keys below it, {key}.KEY=VALUE")
    if not (key in known or key.startswith("hydra") or override.is_add() or override.is_force_add()):
        given = f" (with {', '.join(choices)})" if choices else ""
        raise InputError(f"unknown key {key}{given}{nearest(key, known)}")


def _check_options(override: Override, options: Sequence[str]) -> None:
    for choice in _choices(override):
        if choice not in options:
            raise InputError(f"unknown option {override.key_or_group}={choice}{nearest(choice, options)}")


def _choices(override: Override) -> list[str]:
    value = override.value()
    if isinstance(value, ChoiceSweep):
        return [str(element) for element in value.list]
    return [] if isinstance(value, (Sweep, Glob)) else [str(value)]


def _variants(chosen: Sequence[Override]) -> Iterator[list[str]]:
    """Yield the first choice of every group, then every other choice of each group beside the others' first."""
    choices = {override.key_or_group: _choices(override) for override in chosen if _choices(override)}
    first = {group: options[0] for group, options in choices.items()}
    yield [f"{group}={option}" for group, option in first.items()]
    for group, options in choices.items():
        for option in options[1:]:
            yield [f"{name}={value}" for name, value in (first | {group: option}).items()]


def _composed(conf: Path, entry: str, choices: Sequence[str]) -> DictConfig:
    with initialize_config_dir(str(conf), version_base="1.3"):
        return compose(entry, overrides=list(choices))


def _keys(config: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all keys."""
    for key in config:
        yield f"{prefix}{key}"
        if not OmegaConf.is_missing(config, key) and isinstance(config[key], DictConfig):
            yield from _keys(config[key], f"{prefix}{key}.")
