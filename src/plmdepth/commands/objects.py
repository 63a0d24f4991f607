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
_SPEED_ALONE = ("max_rows", "max_branches")  # change speed and memory, never a number


def build(config: DictConfig, group: str) -> Any:
    """Build the object that a config group describes.

    Args:
        config: the composed configuration.
        group: the group's name, which prefixes its keys in messages.

    Raises:
        InputError: a value is missing, a key is not one of the object's, or a value is of the wrong type.
    """
    check(plain(config, group), group)
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


def check(content: Mapping[str, Any], path: str) -> None:
    """Compare the keys and values of a described object with the signature of its class.

    Raises:
        InputError: as `build`.
    """
    target = get_class(content["_target_"])
    hints = get_type_hints(target.__init__)  # type: ignore[misc]
    parameters = [name for name in inspect.signature(target).parameters if name != "self"]
    for key, value in content.items():
        if key.startswith("_"):
            continue
        if key not in parameters:
            raise InputError(f"unknown key {path}.{key}{nearest(f'{path}.{key}', [f'{path}.{p}' for p in parameters])}")
        if not _nested(value, f"{path}.{key}") and content["_target_"].startswith(_OURS):
            _check_value(value, hints.get(key, Any), f"{path}.{key}")


def _nested(value: Any, path: str) -> bool:
    """Check described objects inside a value; say whether there were any."""
    if not isinstance(value, Mapping):
        return False
    if "_target_" in value:
        check(value, path)
        return True
    found = [_nested(part, f"{path}.{name}") for name, part in value.items()]  # all are checked, not only the first
    return any(found)


def _check_value(value: Any, hint: Any, path: str) -> None:
    try:
        TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value, strict=True)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].lower().replace("input should be", "expected")
        raise InputError(f"{path}={value}: {reason}") from error
