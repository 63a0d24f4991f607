"""Golden files, and weights that anyone can draw again bit by bit, so that a golden file need not hold them.

The raw stream of a bit generator is fixed for ever; distributions drawn from it are not, so none is used.
"""

from __future__ import annotations  # so that Python 3.8, which some references need, can read it

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor


def golden(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return what a reference was given and gave, and the weights that it had, by the reference's own names."""
    with safe_open(Path(__file__).with_name(f"{name}.safetensors"), framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, drawn_weights(json.loads(file.metadata()["shapes"]))  # noqa: SIM118


def drawn_weights(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Return a tensor a name, in float32.

    With u uniform in [-1, 1): a matrix of n columns is ``u / sqrt(n)``; a vector whose name ends in ``weight`` (of
    a norm) is ``1 + u / 2``; any other vector is ``u / 2``.
    """
    return {name: _scaled(name, _uniform(name, tuple(shape))) for name, shape in shapes.items()}


def _uniform(name: str, shape: tuple[int, ...]) -> Tensor:
    raw = np.random.PCG64(zlib.crc32(name.encode())).random_raw(math.prod(shape))
    return torch.from_numpy((raw >> np.uint64(40)).astype(np.float64) / 2**23 - 1).reshape(shape)


def _scaled(name: str, uniform: Tensor) -> Tensor:
    if uniform.ndim > 1:
        return (uniform / math.sqrt(uniform.shape[-1])).float()
    return (uniform / 2 + (1 if name.endswith("weight") else 0)).float()
