"""Files of weights: where they are, what lies beside them, and what went wrong with them."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from plmdepth.errors import InputError

_PYTORCH = (".pt", ".pth", ".bin")
SUFFIXES = (".safetensors", *_PYTORCH)
_OF_TRAINING = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state.*|random_states.*)\.(pt|pth|bin)")
"""What a trainer leaves beside the weights."""
_ADAPTER = re.compile(r"adapter_config\.json|(pytorch_)?adapter(_model)?\.(safetensors|bin|pt)")
_ADAPTER_TENSOR = re.compile(r"(^|\.)lora_|\.base_layer\.|prompt_embeddings")
_MERGE = (
    "merge it with peft, PeftModel.from_pretrained(MODEL, ADAPTER).merge_and_unload().save_pretrained(NEW), "
    "and give model.weights=NEW"
)


def weight_files(place: Path) -> list[Path]:
    """Return the files that hold weights; safetensors alone where there are any.

    Raises:
        InputError: there are none.
    """
    if place.is_file():
        return [place]
    for found in (sorted(place.glob("*.safetensors")), sorted(p for p in place.rglob("*") if is_weight_file(p))):
        if found:
            return found
    lightning = sorted(place.glob("*.ckpt"))
    if lightning:
        raise InputError(lightning_refusal(lightning[0]))
    raise InputError(f"no .safetensors file in {place}; give model.weights the folder that holds the weights")


def is_weight_file(path: Path) -> bool:
    """Say whether a file holds weights, by its name."""
    return path.suffix in SUFFIXES and not _OF_TRAINING.fullmatch(path.name)


def check_adapters(place: Path) -> None:
    """Refuse an adapter, which changes a model that is not changed here.

    Raises:
        InputError: the folder holds an adapter, beside weights or alone, or the file is one.
    """
    folder = place if place.is_dir() else place.parent
    if place.is_file() and not _ADAPTER.fullmatch(place.name):
        return
    found = sorted(path for path in folder.iterdir() if _ADAPTER.fullmatch(path.name))
    if not found:
        return
    if place.is_dir() and any(is_weight_file(path) and path not in found for path in place.iterdir()):
        raise InputError(
            f"{place} holds an adapter ({found[0].name}) beside the weights, which it would change; {_MERGE}"
        )
    raise InputError(f"{place} is an adapter{_base_of(folder)}, without the weights of the model itself; {_MERGE}")


def check_adapter_tensors(names: Iterable[str], place: Path) -> None:
    """Refuse weights in which an adapter is kept apart from what it changes.

    Raises:
        InputError: a name is an adapter's.
    """
    found = next((name for name in names if _ADAPTER_TENSOR.search(name)), None)
    if found is not None:
        raise InputError(f"the weights in {place} hold an adapter that is not merged ({found}); {_MERGE}")


def lightning_refusal(file: Path) -> str:
    """Return what is said of a checkpoint of PyTorch Lightning."""
    return (
        f"{file} is a checkpoint of PyTorch Lightning, the state of a training; load your module from it and save the "
        "language model inside with save_pretrained(NEW), then give model.weights=NEW"
    )


def holds_pytorch_files(folder: Path) -> bool:
    """Say whether a folder holds weights in PyTorch's own format."""
    return any(path.suffix in _PYTORCH and is_weight_file(path) for path in folder.rglob("*"))


def first_line(error: Exception) -> str:
    """Return what an error says first, or its kind."""
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__


def _base_of(folder: Path) -> str:
    try:
        base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f" of {base}" if base else ""
