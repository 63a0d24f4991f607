"""How large a model is, before any of it is in memory."""

from functools import cache

import psutil
import torch

from plmdepth.errors import InputError
from plmdepth.language_models.language_model import LanguageModel

_SPARE = 1.1  # of the weights: what loading and a small batch need beside them
GIGABYTE = 10**9


@cache
def n_parameters(model: LanguageModel) -> int:
    """Return the number of parameters of the model that is really built, without building it in memory."""
    model = model.resolved()
    with torch.device("meta"):
        module = model.architecture(model.architecture_config())
    return sum(parameter.numel() for parameter in module.parameters())


def weight_bytes(model: LanguageModel) -> int:
    """Return what the weights take in the configured precision."""
    return n_parameters(model) * model.torch_dtype.itemsize


def check_memory(model: LanguageModel) -> None:
    """Refuse a model whose weights cannot fit.

    Raises:
        InputError: the weights need more than the memory that is free.
    """
    if model.placement != "memory":
        return
    free = psutil.virtual_memory().available
    if weight_bytes(model) * _SPARE > free:
        raise InputError(
            f"{model.name} needs {weight_bytes(model) / GIGABYTE:.1f} GB of memory for its weights in {model.dtype}, "
            f"and {free / GIGABYTE:.1f} GB are free; use model.dtype=bfloat16, model.placement=disk or a smaller model"
        )
