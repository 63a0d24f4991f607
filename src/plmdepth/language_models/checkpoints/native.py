"""Weights in Hugging Face's layout: a folder with config.json and .safetensors files."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from plmdepth.errors import InputError
from plmdepth.language_models.checkpoints.files import first_line, weight_files
from plmdepth.language_models.checkpoints.placement import forget_with, loading_options
from plmdepth.language_models.language_model import LanguageModel


def is_native(model: LanguageModel, place: Path) -> bool:
    """Say whether a place is to be read as Hugging Face's layout: all that the family cannot convert is."""
    if type(model).converted is LanguageModel.converted and not place.is_file():
        return True
    try:
        content = json.loads((place / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("model_type") == model.architecture_config().model_type


def read_native(model: LanguageModel, folder: Path) -> PreTrainedModel:
    """Read a folder in Hugging Face's layout.

    Raises:
        InputError: a file is missing or damaged, or holds another family or size.
    """
    config = _checked_config(model, folder)
    weight_files(folder)
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # what it would warn of is an error here
    transformers_logging.disable_progress_bar()
    options = loading_options(model)
    try:
        loaded: Any = model.architecture.from_pretrained(
            folder,
            config=config,
            dtype=model.torch_dtype,
            attn_implementation=model.attention,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise InputError(f"cannot read the weights in {folder}: {first_line(error)}; the file is damaged") from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    module, info = loaded
    forget_with(module, options)
    _check_keys(model, folder, info)
    return module


def _checked_config(model: LanguageModel, folder: Path) -> PreTrainedConfig:
    """Read the checkpoint's own configuration and compare it with the size that was asked for."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"no readable config.json in {folder}: {first_line(error)}") from error
    expected = model.architecture_config()
    for name in ("model_type", "num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size"):
        found, wanted = getattr(config, name, None), getattr(expected, name)
        if found != wanted:
            raise InputError(f"{folder} is not {model.name}: its {name} is {found}, expected {wanted}")
    return config


def _check_keys(model: LanguageModel, folder: Path, info: dict[str, Any]) -> None:
    mismatched = [entry[0] if isinstance(entry, tuple) else entry for entry in info["mismatched_keys"]]
    for kind, keys in (("missing", info["missing_keys"]), ("of another shape", mismatched)):
        wrong = sorted(key for key in keys if "contact_head" not in key)
        if wrong:
            shown = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
            raise InputError(f"the weights in {folder} do not fit {model.name}: {kind}: {shown}")
    if info["unexpected_keys"]:
        raise InputError(
            f"the weights in {folder} do not fit {model.name}: unknown: {sorted(info['unexpected_keys'])[0]}"
        )
