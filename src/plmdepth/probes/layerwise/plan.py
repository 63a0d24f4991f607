"""How much the features of a cell are, and whether they are kept: known before anything is computed."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from plmdepth.errors import InputError
from plmdepth.language_models.language_model import LanguageModel

GIGABYTE = 10**9


@cache
def stack_shape(model: LanguageModel) -> tuple[int, int]:
    """Return L and the number of features of the stack that is really built, without building it in memory."""
    model = model.resolved()
    with torch.device("meta"):
        module = model.architecture(model.architecture_config())
    return len(model.anatomy(module).layers), module.config.hidden_size


@dataclass(frozen=True)
class FeaturePlan:
    """The features of a cell.

    Attributes:
        n_proteins: of all splits.
        n_residues: of all splits, where every residue has features; None where a protein has one vector.
        n_layers: that have heads.
        width: features.
        dtype: precision in which they are kept.
        cache: whether they are to be kept.
        gigabytes: the most that they may take.
        folder: where they are kept.
    """

    n_proteins: int
    n_residues: int | None
    n_layers: int
    width: int
    dtype: str
    cache: bool
    gigabytes: float
    folder: Path

    @property
    def n_bytes(self) -> int:
        """What all of them take."""
        rows = self.n_proteins if self.n_residues is None else self.n_residues
        dtype: torch.dtype = getattr(torch, self.dtype)
        return rows * self.n_layers * self.width * dtype.itemsize

    @property
    def kept(self) -> bool:
        """Whether they are kept; otherwise the model runs in every pass."""
        return self.cache and self._fits

    def check(self) -> None:
        """Refuse to keep more vectors of proteins than is allowed; those of residues are then not kept.

        Raises:
            InputError: they take more.
        """
        if self.cache and self.n_residues is None and not self._fits:
            raise InputError(
                f"the features of {self.n_proteins} proteins take {self._size}, probe.cache_gigabytes is "
                f"{self.gigabytes}; raise it, or use probe.cache_dtype=float16 or probe.cache=false"
            )

    def __str__(self) -> str:
        """Say what they take and where they lie, in one line."""
        residues = "" if self.n_residues is None else f" ({self.n_residues:,} residues)"
        much = f"{self.n_proteins:,} proteins{residues} x {self.n_layers} layers x {self.width} = {self._size}"
        return f"features: {much} in {self.dtype}, {self._where}"

    @property
    def _fits(self) -> bool:
        return self.n_bytes <= self.gigabytes * GIGABYTE

    @property
    def _size(self) -> str:
        return f"{self.n_bytes / GIGABYTE:.2f} GB"

    @property
    def _where(self) -> str:
        if self.kept:
            return f"kept in {self.folder}"
        reason = f" (probe.cache_gigabytes is {self.gigabytes:g})" if self.cache else ""
        return f"not kept{reason}: the model runs in every epoch"
