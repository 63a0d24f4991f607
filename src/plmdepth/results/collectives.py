"""What the processes of one run tell each other: sums and files, as tensors. A run of one process talks to itself.

All of it goes over a group of its own on the CPU, so that it is the same whatever device measures, and no process gives
up on another that still works: how long the first one may write is not limited.
"""

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from pytorch_lightning import Trainer
from torch import Tensor
from torch.utils.data import Sampler

_PATIENCE = timedelta(days=7)


def start(trainer: Trainer) -> None:
    """Have the other processes of a trainer there before its first run, to share what comes before it."""
    launcher = trainer.strategy.launcher
    if launcher is not None:
        launcher.launch(trainer.strategy.setup_environment)


def n_processes() -> int:
    """Return how many processes take part."""
    return dist.get_world_size() if _is_shared() else 1


def rank() -> int:
    """Return which of them this one is, from 0."""
    return dist.get_rank() if _is_shared() else 0


def group() -> Any:
    """Return the group in which processes talk; all of them must come here first. None where there is one process."""
    return _new_group() if _is_shared() else None


def total(value: Tensor) -> Tensor:
    """Return the sum of a tensor on the CPU over all processes; all of them must come here."""
    summed = value.clone()
    if _is_shared():
        dist.all_reduce(summed, group=group())
    return summed


def agreed(value: Tensor) -> Tensor:
    """Return the mean of a tensor on the CPU over all processes, so that they decide alike; all must come here."""
    return total(value) / n_processes()


def wait_for_all() -> None:
    """Come back when every process has come here."""
    total(torch.zeros(1))


def contents(path: Path) -> list[bytes]:
    """Return what each process's file holds, by process; all of them must come here."""
    own = torch.from_numpy(np.fromfile(path, dtype=np.uint8))
    if not _is_shared():
        return [own.numpy().tobytes()]
    sizes = torch.zeros(n_processes(), dtype=torch.long)
    sizes[rank()] = len(own)
    sizes = total(sizes)
    padded = torch.zeros(int(sizes.max()), dtype=torch.uint8)
    padded[: len(own)] = own
    found = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(found, padded, group=group())
    return [each[:size].numpy().tobytes() for each, size in zip(found, sizes.tolist(), strict=True)]


class OwnShare(Sampler[int]):
    """Every n-th of some batches, from this process's number on: each is read once, and none twice.

    Args:
        n_batches: how many batches there are.
    """

    def __init__(self, n_batches: int) -> None:
        self._n = n_batches

    def __len__(self) -> int:
        return len(self._numbers())

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers())

    def _numbers(self) -> range:
        return range(rank(), self._n, n_processes())


@cache
def _new_group() -> Any:
    return dist.new_group(backend="gloo", timeout=_PATIENCE)


def _is_shared() -> bool:
    return dist.is_available() and dist.is_initialized()
