"""Weights in a layout of their own: read without running anything that is in the file, converted, and checked."""

import argparse
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from plmdepth.errors import InputError
from plmdepth.language_models.checkpoints.files import first_line, weight_files
from plmdepth.language_models.language_model import LanguageModel

_SHOWN = 3
_WRAPPERS = ("model", "state_dict")


def read_foreign(
    model: LanguageModel, place: Path, build: Callable[[LanguageModel], PreTrainedModel]
) -> PreTrainedModel:
    """Read, convert and load a checkpoint that is not in Hugging Face's layout.

    Args:
        model: the family and size that it should be.
        place: a file, or a folder with files.
        build: makes the untrained module.

    Raises:
        InputError: a file is damaged, unsafe, or does not fit; the message names the keys that differ.
    """
    state: dict[str, Tensor] = {}
    for path in weight_files(place):
        state |= read_tensors(path)
    module = build(model)
    _check(module, model.converted(state), model, place)
    return module


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name; of a PyTorch file, only plain data are read.

    Raises:
        InputError: the file is damaged, or would have to run code to be read.
    """
    try:
        content: Any = load_file(path) if path.suffix == ".safetensors" else _read_torch(path)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path} holds more than weights, or is damaged; it is not read") from error
    except (SafetensorError, OSError, ValueError, RuntimeError, EOFError, KeyError) as error:
        raise InputError(f"cannot read the weights in {path}: {first_line(error)}; the file is damaged") from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"{path} holds no table of weights")
    return dict(content)


def _read_torch(path: Path) -> Any:
    """Read plain data alone. fair-esm's files also hold their options, as a plain namespace."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, map_location="cpu", weights_only=True)


def _check(module: PreTrainedModel, state: Mapping[str, Tensor], model: LanguageModel, place: Path) -> None:
    """Load a converted checkpoint, or say which keys differ; every tensor must be there in its shape."""
    own = module.state_dict()
    needed = {name for name, _ in module.named_parameters()}  # a buffer follows from the configuration
    tied = module.all_tied_weights_keys
    groups = {
        "missing": sorted(key for key in needed - set(state) if "contact_head" not in key),
        "unknown": sorted(set(state) - set(own)),
        "of another shape": sorted(key for key in set(own) & set(state) if own[key].shape != state[key].shape),
        "not one matrix": sorted(key for key, source in tied.items() if _differ(state, key, source)),
    }
    for kind, keys in groups.items():
        if keys:
            shown = ", ".join(keys[:_SHOWN]) + (f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")
            raise InputError(f"the weights in {place} do not fit {model.name}: {kind}: {shown}")
    module.load_state_dict(dict(state), strict=False)


def _differ(state: Mapping[str, Tensor], key: str, source: str) -> bool:
    """Say whether a checkpoint holds different tensors where the architecture has one."""
    return key in state and source in state and not torch.equal(state[key], state[source])
