"""Pooled features on disk: one pass of the language model, resumable, checked, within a budget.

A cache is a folder of shards, each a safetensors file of some proteins, and an index with their checksums. Its name is
a hash of what decides the features: the model, its weights, the proteins, the pooling and the precision.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.proteins.batches import token_budget_batches
from plmdepth.proteins.protein import Protein
from plmdepth.results.atomic import read_json, write_json

SHARD = 256  # proteins a shard: what is lost at most when a run is killed
GIGABYTE = 10**9
_KEY_LENGTH = 16
Compute = Callable[[Sequence[Protein]], Tensor]
"""From a batch of proteins to their features ``[protein, layer, feature]``."""


@dataclass(frozen=True)
class FeatureCache:
    """The features of some proteins.

    Attributes:
        folder: where caches lie.
        facts: what decides the features, beside the proteins.
        proteins: the proteins, in the order in which their features are wanted.
        shape: ``(layer, feature)``.
        dtype: precision on disk.
        tokens_per_batch: most tokens that the model reads at once; decides speed alone.
    """

    folder: Path
    facts: Mapping[str, Any]
    proteins: Sequence[Protein]
    shape: tuple[int, int]
    dtype: torch.dtype
    tokens_per_batch: int

    @property
    def n_bytes(self) -> int:
        """What all features take."""
        return len(self.proteins) * self.shape[0] * self.shape[1] * self.dtype.itemsize

    @property
    def place(self) -> Path:
        """The folder of this cache."""
        lines = [f"{protein.id}\t{protein.sequence}" for protein in self.proteins]
        content = json.dumps({**self.facts, "dtype": str(self.dtype), "proteins": lines}, sort_keys=True, default=str)
        return self.folder / hashlib.sha256(content.encode()).hexdigest()[:_KEY_LENGTH]

    def check_budget(self, gigabytes: float) -> None:
        """Refuse to write more than is allowed.

        Raises:
            InputError: the features need more.
        """
        if self.n_bytes > gigabytes * GIGABYTE:
            raise InputError(
                f"the features of {len(self.proteins)} proteins take {self.n_bytes / GIGABYTE:.2f} GB, "
                f"probe.cache_gigabytes is {gigabytes}; raise it, or use probe.cache_dtype=float16 or probe.cache=false"
            )

    def features(self, compute: Compute) -> Tensor:
        """Return all features ``[protein, layer, feature]``, computing those that are not on disk yet."""
        self.place.mkdir(parents=True, exist_ok=True)
        order = [index for batch in self._batches() for index in batch]
        found = torch.empty((len(order), *self.shape), dtype=self.dtype)
        for start in range(0, len(order), SHARD):
            rows = order[start : start + SHARD]
            found[rows] = self._shard(start // SHARD, rows, compute)
        return found

    def _batches(self) -> list[list[int]]:
        return token_budget_batches([len(protein) for protein in self.proteins], self.tokens_per_batch)

    def _shard(self, number: int, rows: Sequence[int], compute: Compute) -> Tensor:
        path = self.place / f"{number:05d}.safetensors"
        if (kept := self._kept(path)) is not None:
            return kept
        lengths = [len(self.proteins[row]) for row in rows]
        features = torch.empty((len(rows), *self.shape), dtype=self.dtype)
        for batch in token_budget_batches(lengths, self.tokens_per_batch):
            features[batch] = compute([self.proteins[rows[i]] for i in batch]).to("cpu", self.dtype)
        temporary = path.with_suffix(".partial")
        save_file({"features": features}, temporary)
        temporary.replace(path)
        write_json(path.with_suffix(".json"), {"sha256": _sha256(path)})
        return features

    def _kept(self, path: Path) -> Tensor | None:
        """Return the features of a shard that is whole, None where there is none."""
        index = read_json(path.with_suffix(".json"))
        if index is None or not path.exists() or _sha256(path) != index.get("sha256"):
            return None
        return load_file(path)["features"]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
