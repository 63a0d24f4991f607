"""Weights in Hugging Face's layout: a folder with config.json and .safetensors files, or .bin where there are none."""

import json
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig
from transformers.utils import logging as transformers_logging

from plmdepth.errors import InputError
from plmdepth.language_models.checkpoints.files import (
    check_adapter_tensors,
    first_line,
    holds_pytorch_files,
    weight_files,
)
from plmdepth.language_models.checkpoints.fit import Loaded, check_shapes, fitted, own_names, without_prefix
from plmdepth.language_models.checkpoints.foreign import read_tensors, tensor_names
from plmdepth.language_models.checkpoints.placement import forget_with, loading_options
from plmdepth.language_models.language_model import LanguageModel

_SIZE = ("model_type", "num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")


def is_native(model: LanguageModel, place: Path) -> bool:
    """Say whether a place is to be read as Hugging Face's layout: all that the family cannot convert is."""
    if place.is_file():
        return False
    if type(model).converted is LanguageModel.converted:
        return True
    try:
        content = json.loads((place / "config.json").read_text(encoding="utf-8"))
    except OSError:
        return not holds_pytorch_files(place)
    except ValueError:
        return True
    own = model.architecture_config().model_type
    # Another model that Hugging Face knows is refused by name, not converted.
    return isinstance(content, dict) and content.get("model_type") in (own, *CONFIG_MAPPING)


def read_native(model: LanguageModel, folder: Path) -> Loaded:
    """Read a folder in Hugging Face's layout.

    Raises:
        InputError: a file is missing or damaged, or holds another family or size.
    """
    config = _checked_config(model, folder)
    source = _source(model, folder)
    options = loading_options(model)
    try:
        with _quiet():
            loaded: Any = model.architecture.from_pretrained(
                config=config,
                dtype=model.torch_dtype,
                attn_implementation=model.attention,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **source,
                **options,
            )
    except pickle.UnpicklingError as error:
        raise InputError(f"{folder} holds more than weights, or is damaged; it is not read") from error
    except (SafetensorError, OSError, ValueError, RuntimeError, EOFError) as error:
        raise InputError(f"cannot read the weights in {folder}: {first_line(error)}; the file is damaged") from error
    module, info = loaded
    forget_with(module, options)
    check_shapes(model, folder, [entry[0] if isinstance(entry, tuple) else entry for entry in info["mismatched_keys"]])
    return fitted(model, module, folder, info["missing_keys"], info["unexpected_keys"])


def _source(model: LanguageModel, folder: Path) -> dict[str, Any]:
    """Return the arguments of ``from_pretrained`` that say where weights are: the folder, or tensors renamed.

    Raises:
        InputError: the weights hold an adapter, or all bear a prefix and cannot be renamed where they are to lie.
    """
    names = {name: path for path in _files(folder) for name in tensor_names(path)}
    check_adapter_tensors(names, folder)
    with torch.device("meta"):
        own = own_names(model.architecture(model.architecture_config()))
    plain = without_prefix(names, lambda state: len(own & set(state)))
    if set(plain) == set(names):
        safe = all(path.suffix == ".safetensors" for path in names.values())
        # where not safe, plain data alone are read, as torch.load does with weights_only
        return {"pretrained_model_name_or_path": folder, "use_safetensors": safe}
    if model.placement != "memory":
        raise InputError(f"model.placement={model.placement}: the names in {folder} bear a prefix; save them without")
    cut = len(next(iter(names))) - len(next(iter(plain)))
    state = {name[cut:]: tensor for path in _files(folder) for name, tensor in read_tensors(path).items()}
    return {"pretrained_model_name_or_path": None, "state_dict": state}


def _files(folder: Path) -> list[Path]:
    """Return the files that ``from_pretrained`` reads: those that an index names, or the one of the usual name."""
    for stem in ("model.safetensors", "pytorch_model.bin"):
        if (folder / stem).is_file():
            return [folder / stem]
        if (folder / f"{stem}.index.json").is_file():
            index = json.loads((folder / f"{stem}.index.json").read_text(encoding="utf-8"))
            return [folder / name for name in sorted(set(index["weight_map"].values()))]
    return weight_files(folder)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers, whose warnings are errors here, and accelerate where it warns of what is meant."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # A parameter beside the layers, in the module that holds them, has a place of its own.
            warnings.filterwarnings("ignore", message="The following device_map keys do not match any submodules")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def _checked_config(model: LanguageModel, folder: Path) -> PreTrainedConfig:
    """Read the checkpoint's own configuration and compare it with the size that was asked for."""
    expected = model.architecture_config()
    try:  # early files do not name the architecture: then it is the one that was asked for, or its sizes differ
        named = "model_type" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = (AutoConfig if named else type(expected)).from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"no readable config.json in {folder}: {first_line(error)}") from error
    for name in (*_SIZE, *model.distinguishing):
        found, wanted = getattr(config, name, None), getattr(expected, name, None)
        if found != wanted:
            raise InputError(f"{folder} is not {model.name}: its {name} is {found}, expected {wanted}")
    return config
