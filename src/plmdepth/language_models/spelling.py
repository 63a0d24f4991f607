"""How a family spells a protein as tokens, and the padded batch of tokens that a model reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from plmdepth.proteins.protein import CANONICAL


@dataclass(frozen=True)
class Tokens:
    """A right-padded batch.

    Attributes:
        ids: token ids, ``[batch, token]``.
        attended: true for every token but padding, ``[batch, token]``.
        residues: the residue mask, true for residues only, ``[batch, token]``.
    """

    ids: Tensor
    attended: Tensor
    residues: Tensor

    def to(self, device: torch.device | str) -> "Tokens":
        """Return the batch on another device."""
        return Tokens(*(tensor.to(device) for tensor in (self.ids, self.attended, self.residues)))


@dataclass(frozen=True)
class Spelling:
    """One token a residue, between a fixed prefix and a fixed suffix.

    Attributes:
        letters: token id of every letter that the family can spell; must hold the twenty amino acids and X.
        prefix: token ids before the first residue.
        suffix: token ids after the last residue.
        pad: id of the padding token.
        mask: id of the mask token, or None where the family has none.
    """

    letters: MappingProxyType[str, int]
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    pad: int
    mask: int | None

    def __post_init__(self) -> None:
        missing = set(CANONICAL + "X") - set(self.letters)
        if missing:
            raise ValueError(f"a spelling needs the twenty amino acids and X; missing: {sorted(missing)}")

    @property
    def amino_acids(self) -> Tensor:
        """Token ids of the twenty amino acids in the order of `CANONICAL`, ``[20]``."""
        return torch.tensor([self.letters[letter] for letter in CANONICAL])

    def encode(self, sequences: Sequence[str]) -> Tokens:
        """Spell sequences, one token a residue, padded on the right.

        A letter that the family cannot spell is read as X. Lengths never change.

        >>> from plmdepth.language_models.families.esm2 import SPELLING
        >>> SPELLING.encode(["MK", "A"]).ids.tolist()
        [[0, 20, 15, 2], [0, 5, 2, 1]]
        """
        extra = len(self.prefix) + len(self.suffix)
        width = max(len(sequence) for sequence in sequences) + extra
        ids = torch.full((len(sequences), width), self.pad)
        residues = torch.zeros_like(ids, dtype=torch.bool)
        for row, sequence in enumerate(sequences):
            body = [self.letters.get(letter, self.letters["X"]) for letter in sequence]
            ids[row, : len(body) + extra] = torch.tensor([*self.prefix, *body, *self.suffix])
            residues[row, len(self.prefix) : len(self.prefix) + len(body)] = True
        lengths = torch.tensor([len(sequence) + extra for sequence in sequences])
        return Tokens(ids=ids, attended=torch.arange(width) < lengths[:, None], residues=residues)
