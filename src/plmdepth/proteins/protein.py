"""A protein: the record that every dataset yields."""

import hashlib
from dataclasses import dataclass

CANONICAL = "ACDEFGHIKLMNPQRSTVWY"
"""The twenty amino acids, alphabetically by their one-letter code."""


@dataclass(frozen=True, slots=True)
class Protein:
    """One sequence with its identifier."""

    id: str
    sequence: str

    def __len__(self) -> int:
        return len(self.sequence)

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
