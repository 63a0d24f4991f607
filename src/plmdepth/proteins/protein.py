"""A protein: the record that every dataset yields."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Literal, Self

StructureAlphabet = Literal["dplm2", "3di"]
"""``dplm2``: 8192 codes of DPLM-2's structure tokenizer. ``3di``: Foldseek's twenty letters, alphabetically."""

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
    """

    id: str
    sequence: str
    structure_tokens: tuple[int, ...] | None = field(default=None, kw_only=True, repr=False)
    structure_alphabet: StructureAlphabet = field(default="dplm2", kw_only=True, repr=False)

    def __len__(self) -> int:
        return len(self.sequence)

    def without_structure(self) -> Self:
        """Return the protein as its residues alone."""
        return self if self.structure_tokens is None else replace(self, structure_tokens=None)

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
