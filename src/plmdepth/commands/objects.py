"""Configuration into objects, once: below this module there is no DictConfig."""

import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints

from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, TypeAdapter, ValidationError

from plmdepth.commands.nearest import nearest
from plmdepth.errors import InputError

_OURS = "plmdepth."
_TRAINER = "pytorch_lightning.Trainer"
_SPEED_ALONE = ("max_rows", "max_branches")  # change speed and memory, never a number


def build(config: DictConfig, group: str) -> Any:
    """Build the object that a config group describes.

    Args:
        config: the composed configuration.
        group: the group's name, which prefixes its keys in messages.

    Raises:
        InputError: a value is missing, a key is not one of the object's, or a value is of the wrong type.
    """
    for key, value in check(plain(config, group), group):
        OmegaConf.update(config, key, value)
    try:
        return instantiate(config[group], _convert_="object")
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise


def check_run_options(config: DictConfig) -> None:
    """Check the keys that belong to no group.

    Raises:
        InputError: a value is of the wrong type.
    """
    for key, hint in (("seed", int), ("force", bool), ("outputs", str)):
        _check_value(config[key], hint, key)


def plain(config: DictConfig, group: str) -> dict[str, Any]:
    """Return a group's keys and values as plain Python, all present and resolved."""
    node = config[group]
    if not OmegaConf.is_config(node) or "_target_" not in node:
        keys = ", ".join(f"{group}.{key}" for key in node) if OmegaConf.is_dict(node) else group
        raise InputError(f"{keys}: no {group} is chosen that it could belong to; add {group}=OPTION or leave it out")
    missing = sorted(key for key in node if OmegaConf.is_missing(node, key))
    if missing:
        raise InputError(f"{group}.{missing[0]} is required; give {group}.{missing[0]}=VALUE")
    try:
        content = OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(f"{group}: {str(error).splitlines()[0]}") from error
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def options(config: DictConfig, group: str) -> dict[str, Any]:
    """Return what a group sets that decides numbers, for the identity of a cell: its target's name and its values."""
    content = {key: value for key, value in plain(config, group).items() if key not in _SPEED_ALONE}
    return {"is": content.pop("_target_").rsplit(".", 1)[-1], **content}


def check(content: Mapping[str, Any], path: str) -> list[tuple[str, Any]]:
    """Compare the keys and values of a described object with the signature of its class.

    Returns:
        What is meant by values that stand for a list of one: ``probe.layers=6`` for ``[6]``, by dotted key.

    Raises:
        InputError: as `build`.
    """
    target = _class_of(content["_target_"], path)
    hints = get_type_hints(target.__init__)  # type: ignore[misc]
    parameters = [name for name in inspect.signature(target).parameters if name != "self"]
    meant = []
    for key, value in content.items():
        name = f"{path}.{key}"
        if key.startswith("_"):
            if key != "_target_" and (name, value) != ("trainer._partial_", True):
                raise InputError(f"unknown key {name}; options have plain names")
        elif key not in parameters:
            raise InputError(f"unknown key {name}{nearest(name, [f'{path}.{p}' for p in parameters])}")
        elif (inner := _inner(value, name)) is not None:
            meant += inner
        elif content["_target_"].startswith(_OURS):
            meant += _as_meant(value, hints.get(key, Any), name)
    return meant


def _class_of(target: Any, path: str) -> type:
    """Return the class that an object is described as; nothing else is imported, let alone called.

    Raises:
        InputError: it is none of this package, nor the trainer.
    """
    if not (str(target).startswith(_OURS) or (path, target) == ("trainer", _TRAINER)):
        group = path.partition(".")[0]
        raise InputError(f"{path}._target_={target} is no part of this package; choose an option, {group}=OPTION")
    try:
        return get_class(target)
    except (ImportError, ValueError, AttributeError) as error:
        raise InputError(f"{path}._target_={target}: there is no such class; leave _target_ as it is") from error


def _inner(value: Any, path: str) -> list[tuple[str, Any]] | None:
    """Check described objects inside a value; return what is meant by theirs, None where there are none."""
    if isinstance(value, Mapping) and "_target_" in value:
        return check(value, path)
    parts = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    found = [_inner(part, f"{path}.{name}") for name, part in parts]  # all are checked, not only the first
    known = [each for each in found if each is not None]
    return [meant for each in known for meant in each] if known else None


def _as_meant(value: Any, hint: Any, path: str) -> list[tuple[str, Any]]:
    """Check a value; where one stands for a list of one, return its key and the list."""
    try:
        _check_value(value, hint, path)
    except InputError:
        if value is None or isinstance(value, list | Mapping):
            raise
        try:
            _check_value([value], hint, path)
        except InputError:
            pass
        else:
            return [(path, [value])]
        raise
    return []


def _check_value(value: Any, hint: Any, path: str) -> None:
    try:
        TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value, strict=True)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].lower().replace("input should be", "expected")
        raise InputError(f"{path}={value}: {reason}") from error
