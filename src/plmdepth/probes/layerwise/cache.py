"""Features on disk: one pass of the language model, resumable and checked.

A cache is a folder of shards, each a safetensors file of some proteins, and an index with their checksums. Its name is
a hash of what decides the features: the model, its weights, the proteins, the layers, the pooling and the precision. A
protein has one row of features, or one for each residue.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.proteins.batches import token_budget_batches
from plmdepth.proteins.protein import Protein
from plmdepth.results.atomic import read_json, write_json
from plmdepth.results.collectives import n_processes, rank, wait_for_all

SHARD = 256
"""Most proteins a shard: what is lost at most when a run is killed."""
SHARD_BYTES = 2**28
"""Most bytes a shard, of several proteins: they are in memory at once while it is made."""
_KEY_LENGTH = 16
Compute = Callable[[Sequence[Protein]], Tensor]
"""From a batch of proteins to their features ``[row, layer, feature]``, protein by protein."""


class Shard(NamedTuple):
    """A file of features.

    Attributes:
        path: ``features`` ``[row, layer, feature]`` and ``rows``, how many each protein has, ``[protein]``.
        members: the places of its proteins among all, in its order.
    """

    path: Path
    members: Sequence[int]


def one_row(protein: Protein) -> int:  # noqa: ARG001 (the signature of all)
    """Return the number of rows of a protein that is pooled."""
    return 1


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
        n_rows: how many rows a protein has.
    """

    folder: Path
    facts: Mapping[str, Any]
    proteins: Sequence[Protein]
    shape: tuple[int, int]
    dtype: torch.dtype
    tokens_per_batch: int
    n_rows: Callable[[Protein], int] = one_row

    @property
    def place(self) -> Path:
        """The folder of this cache."""
        lines = [f"{protein.id}\t{protein.sequence}" for protein in self.proteins]
        content = json.dumps({**self.facts, "dtype": str(self.dtype), "proteins": lines}, sort_keys=True, default=str)
        return self.folder / hashlib.sha256(content.encode()).hexdigest()[:_KEY_LENGTH]

    def features(self, compute: Compute) -> Tensor:
        """Return the features of all proteins of one row, ``[protein, layer, feature]``."""
        found = torch.empty((len(self.proteins), *self.shape), dtype=self.dtype)
        for shard in self.shards(compute):
            found[shard.members] = load_file(shard.path)["features"]
        return found

    def shards(self, compute: Compute) -> Iterator[Shard]:
        """Yield whole files with the features of all proteins, computing those that are not on disk yet.

        Of n processes that share a run each computes every n-th file; all of them must come here.
        """
        self.place.mkdir(parents=True, exist_ok=True)
        shards = [
            Shard(self.place / f"{number:05d}.safetensors", members) for number, members in enumerate(self._parts())
        ]
        for shard in shards[rank() :: n_processes()]:
            if not self._is_whole(shard):
                self._write(shard, compute)
        wait_for_all()
        yield from shards

    def _parts(self) -> Iterator[list[int]]:
        """Yield the proteins of every shard: those of like length are together."""
        part: list[int] = []
        n_bytes = 0
        for index in (i for batch in self._batches(range(len(self.proteins))) for i in batch):
            more = self.n_rows(self.proteins[index]) * self.shape[0] * self.shape[1] * self.dtype.itemsize
            if part and (len(part) == SHARD or n_bytes + more > SHARD_BYTES):
                yield part
                part, n_bytes = [], 0
            part.append(index)
            n_bytes += more
        if part:
            yield part

    def _batches(self, members: Sequence[int]) -> list[list[int]]:
        return token_budget_batches([len(self.proteins[index]) for index in members], self.tokens_per_batch)

    def _rows(self, members: Sequence[int]) -> list[int]:
        return [self.n_rows(self.proteins[index]) for index in members]

    def _write(self, shard: Shard, compute: Compute) -> None:
        rows = self._rows(shard.members)
        parts: dict[int, Tensor] = {}
        for batch in self._batches(shard.members):
            features = compute([self.proteins[shard.members[i]] for i in batch]).to("cpu", self.dtype)
            parts |= zip(batch, features.split([rows[i] for i in batch]), strict=True)
        features = torch.cat([parts[i] for i in range(len(rows))])
        self._check_finite(features)
        temporary = shard.path.with_suffix(f".{os.getpid()}.partial")
        save_file({"features": features, "rows": torch.tensor(rows)}, temporary)
        temporary.replace(shard.path)
        write_json(shard.path.with_suffix(".json"), {"sha256": _sha256(shard.path)})

    def _is_whole(self, shard: Shard) -> bool:
        """Say whether a file is there, as it was written, with the rows of these proteins."""
        index = read_json(shard.path.with_suffix(".json"))
        if index is None or not shard.path.exists() or _sha256(shard.path) != index.get("sha256"):
            return False
        try:
            with safe_open(shard.path, "pt") as file:
                return bool(file.get_tensor("rows").tolist() == self._rows(shard.members))
        except SafetensorError:
            return False

    def _check_finite(self, features: Tensor) -> None:
        if not bool(features.isfinite().all()):
            raise InputError(
                f"features of this model are too large for {_name(self.dtype)}; use probe.cache_dtype=float32"
            )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
