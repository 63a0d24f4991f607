"""The translators of a tuned lens (Belrose et al. 2023), and the two files that hold them.

``translators.safetensors`` holds ``weight`` and ``bias``; ``lens.json`` says which model they were fitted to. A lens is
tied to the final norm and head that it reads through: with any other it would show something, but nothing true.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack

TRANSLATORS_FILE, DESCRIPTION_FILE = "translators.safetensors", "lens.json"
_GIVE = "give the lens folder in a record of train.py probe=tuned_lens"


@dataclass(frozen=True)
class Translators:
    """One affine map a layer, ``h -> h + W_l h + b_l`` for l = 0..L-1; all zero, they change nothing.

    Attributes:
        weight: ``W``, ``[layer, feature, feature]``, row = feature written.
        bias: ``b``, ``[layer, feature]``.
    """

    weight: Tensor
    bias: Tensor

    def translated(self, layer: int, state: Tensor) -> Tensor:
        """Return the state of a layer, ``[..., feature]``, as the last layer would put it; in its own precision."""
        known = state.float()
        return (known + known @ self.weight[layer].T + self.bias[layer]).to(state.dtype)

    def to(self, device: torch.device | str) -> "Translators":
        """Return the translators on another device."""
        return Translators(self.weight.to(device), self.bias.to(device))

    @property
    def digest(self) -> str:
        """Hash of the numbers, wherever they lie."""
        return _digest([("weight", self.weight), ("bias", self.bias)])


@dataclass(frozen=True)
class LensDescription:
    """The model that a lens was fitted to.

    Attributes:
        n_layers: L.
        width: features of the residual stream.
        model: the model option's name, for people.
        readout_sha256: hash of the final norm and head.
    """

    n_layers: int
    width: int
    model: str
    readout_sha256: str


def describe(stack: LayerStack, model: str) -> LensDescription:
    """Return what a lens must match to read this stack."""
    return LensDescription(stack.n_layers, stack.width, model, readout_digest(stack))


def readout_digest(stack: LayerStack) -> str:
    """Return the hash of the weights of final norm and head, their precision included.

    Raises:
        InputError: the family's norm or head is a plain function, whose weights cannot be told.
    """
    tensors: list[tuple[str, Tensor]] = []
    for name, part in (("norm", stack.anatomy.norm), ("head", stack.anatomy.head)):
        if not isinstance(part, nn.Module):
            raise InputError(f"this model's final {name} is not a module, so no lens can be tied to it; use lens=logit")
        tensors += [(f"{name}.{key}", tensor) for key, tensor in sorted(part.state_dict().items())]
    return _digest(tensors)


def read_lens(folder: Path) -> tuple[Translators, LensDescription]:
    """Read a lens.

    Raises:
        InputError: the folder or one of its files is missing or damaged.
    """
    if not folder.is_dir():
        raise InputError(f"lens.path={folder}: no such folder; {_GIVE}")
    for name in (DESCRIPTION_FILE, TRANSLATORS_FILE):
        if not (folder / name).is_file():
            raise InputError(f"lens.path={folder}: there is no {name} in it; {_GIVE}")
    description = _read_description(folder / DESCRIPTION_FILE)
    return _read_translators(folder / TRANSLATORS_FILE, description), description


def _read_description(path: Path) -> LensDescription:
    try:
        return TypeAdapter(LensDescription).validate_python(json.loads(path.read_text(encoding="utf-8")))
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _damaged(path) from error


def _read_translators(path: Path, description: LensDescription) -> Translators:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path) from error
    shape = (description.n_layers, description.width)
    expected = {"weight": (*shape, description.width), "bias": shape}
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != expected:
        raise _damaged(path)
    if any(tensor.dtype != torch.float32 or not tensor.isfinite().all() for tensor in tensors.values()):
        raise _damaged(path)
    return Translators(**tensors)


def _damaged(path: Path) -> InputError:
    return InputError(f"lens.path: {path} is damaged; fit the lens again with train.py probe=tuned_lens force=true")


def _digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
