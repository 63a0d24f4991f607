"""Weights in a layout of their own: read without running anything that is in the file, converted, and checked."""

import argparse
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from plmdepth.errors import InputError
from plmdepth.language_models.checkpoints.files import (
    check_adapter_tensors,
    first_line,
    lightning_refusal,
    weight_files,
)
from plmdepth.language_models.checkpoints.fit import Loaded, check_shapes, fitted, own_names, without_prefix
from plmdepth.language_models.language_model import LanguageModel

_WRAPPERS = ("model", "state_dict")


def read_foreign(model: LanguageModel, place: Path, build: Callable[[LanguageModel], PreTrainedModel]) -> Loaded:
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
    check_adapter_tensors(state, place)
    module = build(model)
    own = own_names(module)

    def n_known(some: Mapping[str, Tensor]) -> int:
        try:
            return len(own & set(model.converted(some)))
        except InputError:
            return 0

    plain = without_prefix(state, n_known)
    return _loaded(module, model.converted(plain), model, place)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name; of a PyTorch file, only plain data are read.

    Raises:
        InputError: the file is damaged, or would have to run code to be read.
    """
    if path.suffix == ".ckpt":
        raise InputError(lightning_refusal(path))
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


def tensor_names(path: Path) -> list[str]:
    """Return the names of the tensors of a file.

    Raises:
        InputError: as `read_tensors`.
    """
    if path.suffix != ".safetensors":
        return list(read_tensors(path))
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"cannot read the weights in {path}: {first_line(error)}; the file is damaged") from error


def _read_torch(path: Path) -> Any:
    """Read plain data alone. fair-esm's and fairseq's files also hold their options, as a plain namespace."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, map_location="cpu", weights_only=True)


def _loaded(module: PreTrainedModel, state: Mapping[str, Tensor], model: LanguageModel, place: Path) -> Loaded:
    """Load a converted checkpoint, or say which keys differ; every tensor must be there in its shape."""
    own = module.state_dict()
    needed = {name for name, _ in module.named_parameters()}  # a buffer follows from the configuration
    check_shapes(model, place, [key for key in set(own) & set(state) if own[key].shape != state[key].shape])
    loaded = fitted(model, module, place, needed - set(state), set(state) - set(own))
    if torn := sorted(key for key, source in module.all_tied_weights_keys.items() if _differ(state, key, source)):
        raise InputError(f"the weights in {place} do not fit {model.name}: not one matrix: {torn[0]}")
    module.load_state_dict(dict(state), strict=False)
    return loaded


def _differ(state: Mapping[str, Tensor], key: str, source: str) -> bool:
    """Say whether a checkpoint holds different tensors where the architecture has one."""
    return key in state and source in state and not torch.equal(state[key], state[source])
