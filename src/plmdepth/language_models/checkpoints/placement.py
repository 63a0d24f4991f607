"""Where the weights of a model lie while it runs: all in memory, layers on disk, or spread over what there is.

Hugging Face's accelerate moves each layer's weights to where it runs, just before it runs, and lets go of them after.
"""

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from plmdepth.errors import InputError
from plmdepth.language_models.language_model import LanguageModel


def loading_options(model: LanguageModel) -> dict[str, Any]:
    """Return the arguments of ``from_pretrained`` that place the weights.

    Raises:
        InputError: accelerate is not installed.
    """
    if model.placement == "memory":
        return {}
    if find_spec("accelerate") is None:
        raise InputError(f"model.placement={model.placement} needs accelerate: pip install 'plmdepth[large]'")
    places = "auto" if model.placement == "auto" else _layers_on_disk(model)
    return {"device_map": places, "offload_folder": tempfile.mkdtemp(prefix="plmdepth-")}


def forget_with(module: PreTrainedModel, options: Mapping[str, Any]) -> None:
    """Delete the folder of offloaded weights, if there is one, when the module goes."""
    if "offload_folder" in options:
        weakref.finalize(module, shutil.rmtree, options["offload_folder"], ignore_errors=True)


def is_dispatched(module: nn.Module) -> bool:
    """Say whether accelerate decides where the module's weights lie, so that nothing else may move it."""
    return len(set(getattr(module, "hf_device_map", {}).values())) > 1


def _layers_on_disk(model: LanguageModel) -> dict[str, str]:
    with torch.device("meta"):
        module: Any = model.architecture(model.architecture_config())
    return _places(module, model.anatomy(module).layers)


def _places(module: nn.Module, layers: Sequence[nn.Module]) -> dict[str, str]:
    """Return ``disk`` for every layer and ``cpu`` for the largest parts that hold none."""
    inside = {id(layer) for layer in layers}
    places: dict[str, str] = {}

    def visit(part: nn.Module, name: str) -> None:
        if id(part) in inside:
            places[name] = "disk"
        elif not any(id(child) in inside for child in part.modules()):
            places[name] = "cpu"
        else:
            places.update({f"{name}.{own}".lstrip("."): "cpu" for own, _ in part.named_parameters(recurse=False)})
            for child_name, child in part.named_children():
                visit(child, f"{name}.{child_name}" if name else child_name)

    visit(module, "")
    return places
