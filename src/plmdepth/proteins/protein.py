"""A protein: the record that every dataset yields."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

StructureAlphabet = Literal["dplm2", "3di"]
"""``dplm2``: 8192 codes of DPLM-2's structure tokenizer. ``3di``: Foldseek's twenty letters, alphabetically."""

Backbone = NDArray[np.float32]
"""Where N, CA and C of every residue are, in Angstrom, ``[residue, atom, 3]``; NaN where an atom is not resolved."""

CANONICAL = "ACDEFGHIKLMNPQRSTVWY"
"""The twenty amino acids, alphabetically by their one-letter code."""


@dataclass(frozen=True, slots=True)
class Protein:
    """One sequence with its identifier.

    Attributes:
        id: its identifier.
        sequence: its residues.
        structure_tokens: one code a residue for the shape of the backbone around it; None where it is not known.
        structure_alphabet: what the codes mean.
        backbone: coordinates, made read-only; None where they are not known. Proteins that differ in nothing else are
            equal.
        copy_of: where several proteins of a run have this sequence, the one id that all of them are drawn by: they are
            one cluster of the bootstrap.
    """

    id: str
    sequence: str
    structure_tokens: tuple[int, ...] | None = field(default=None, kw_only=True, repr=False)
    structure_alphabet: StructureAlphabet = field(default="dplm2", kw_only=True, repr=False)
    backbone: Backbone | None = field(default=None, kw_only=True, repr=False, compare=False)
    copy_of: str | None = field(default=None, kw_only=True, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.backbone is not None:
            if self.backbone.shape != (len(self), 3, 3):
                raise ValueError(f"{len(self)} residues, and coordinates of the shape {self.backbone.shape}")
            self.backbone.flags.writeable = False

    def __len__(self) -> int:
        return len(self.sequence)

    def keeping(self, *, tokens: bool, backbone: bool) -> Self:
        """Return the protein with, beside its residues, no more of its structure than is asked for.

        Args:
            tokens: keep its structure tokens.
            backbone: keep its coordinates.
        """
        return replace(
            self,
            structure_tokens=self.structure_tokens if tokens else None,
            structure_alphabet=self.structure_alphabet if tokens else "dplm2",
            backbone=self.backbone if backbone else None,
        )

    @property
    def has_backbone(self) -> bool:
        """Whether N, CA and C of any residue are known."""
        return self.backbone is not None and bool(np.isfinite(self.backbone).all((1, 2)).any())

    @property
    def sha256(self) -> str:
        """SHA-256 of the sequence, in hexadecimal."""
        return hashlib.sha256(self.sequence.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record that was not measured, and why: ``kind (detail)``."""

    id: str
    length: int
    reason: str

    @property
    def kind(self) -> str:
        """The reason without its detail, to count by."""
        return self.reason.partition(" (")[0]
