"""Where weights come from: the Hub, a local folder, the package itself, or a seeded initialisation."""

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from plmdepth.errors import InputError
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack

_BLOCK = 1 << 20


def load_stack(model: LanguageModel, seed: int) -> LayerStack:
    """Build the stack of a configured model.

    Args:
        model: the configured model.
        seed: decides the weights where they are random.

    Raises:
        InputError: the weights are missing, damaged, or of another family or size.
    """
    model = model.resolved()
    if model.attention == "sdpa" and not model.architecture._supports_sdpa:
        raise InputError(f"{model.name} has no attention=sdpa; use model.attention=eager")
    module = _random(model, seed) if model.weights == "random" else _pretrained(model, weights_folder(model))
    return LayerStack(module=module, anatomy=model.anatomy(module), spelling=model.spelling)


def weights_digest(model: LanguageModel, seed: int) -> str:
    """Return what identifies the weights: the hash of their files, or the seed that draws them."""
    model = model.resolved()
    if model.weights == "random":
        return f"random:{seed}"
    digest = hashlib.sha256()
    for path in _weight_files(weights_folder(model)):
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def weights_folder(model: LanguageModel) -> Path:
    """Return the local folder that holds the weights, fetched from the Hub if need be."""
    if model.weights == "hub":
        return _hub_folder(model)
    bundled = Path(str(files("plmdepth"))) / "bundled" / model.name
    folder = bundled if model.weights == "bundled" else Path(model.weights).expanduser()
    if not folder.is_dir():
        options = "hub, random" + (", bundled" if bundled.is_dir() else "")
        raise InputError(f"model.weights={model.weights}: no such folder; give the path of one, or one of {options}")
    return folder


def build_module(model: LanguageModel) -> PreTrainedModel:
    """Build the untrained module of a model, in its precision, from torch's current random state."""
    config = model.architecture_config()
    config._attn_implementation = model.attention
    module: Any = model.architecture(config)
    return module.to(model.torch_dtype)


def _random(model: LanguageModel, seed: int) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_module(model)


def _hub_folder(model: LanguageModel) -> Path:
    if model.hub_id is None:
        raise InputError(f"model={model.name} is not on the Hub; use model.weights=random or the path of a folder")
    try:
        return Path(snapshot_download(model.hub_id, allow_patterns=["*.safetensors", "*.json"]))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise InputError(
            f"cannot get {model.hub_id} from the Hub ({_first_line(error)}); "
            "connect, or give model.weights=PATH (a folder with config.json and model.safetensors) "
            "or model.weights=random (untrained)"
        ) from error


def _weight_files(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise InputError(f"no .safetensors file in {folder}; give model.weights the folder that holds the weights")
    return found


def _pretrained(model: LanguageModel, folder: Path) -> PreTrainedModel:
    config = _checked_config(model, folder)
    _weight_files(folder)
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # what it would warn of is an error here
    transformers_logging.disable_progress_bar()
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
        )
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise InputError(f"cannot read the weights in {folder}: {_first_line(error)}; the file is damaged") from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    module, info = loaded
    _check_keys(model, folder, info)
    return module


def _checked_config(model: LanguageModel, folder: Path) -> PreTrainedConfig:
    """Read the checkpoint's own configuration and compare it with the size that was asked for."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"no readable config.json in {folder}: {_first_line(error)}") from error
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


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
