"""Spelling in pieces of several residues: byte-pair encoding of protein text (ProtGPT2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from plmdepth.language_models.spelling.spelling import Spelling, Tokens
from plmdepth.proteins.letters import NONCANONICAL
from plmdepth.proteins.protein import CANONICAL

_RESIDUES = frozenset(CANONICAL + NONCANONICAL)


class Tokenizer(Protocol):
    """What is needed of a tokenizer."""

    def get_vocab(self) -> dict[str, int]:
        """Return the id of every token."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the token ids of a text."""


@dataclass(frozen=True, kw_only=True)
class PieceSpelling(Spelling):
    """Tokens of one residue or more, in lines of a fixed number of residues.

    A token that holds residues counts as one residue in the residue mask, so curves are means over tokens. Every amino
    acid of the twenty is a target, with the others of its token. A token is chosen among all that are made of residues,
    which take the place of the twenty amino acids, and losses are in nats per token.

    Attributes:
        tokenizer: splits text into tokens.
        line: residues a line.
    """

    tokenizer: Tokenizer
    line: int

    @cached_property
    def sizes(self) -> Tensor:
        """Number of residues of every token, 0 where it holds anything else, ``[token id]``."""
        vocabulary = self.tokenizer.get_vocab()
        sizes = torch.zeros(max(vocabulary.values()) + 1, dtype=torch.long)
        for token, index in vocabulary.items():
            sizes[index] = len(token) if set(token) <= _RESIDUES else 0
        return sizes

    @property
    def amino_acids(self) -> Tensor:
        """Ids of all tokens made of residues, ``[choice]``: there are no twenty amino acids to choose among."""
        return self.sizes.nonzero()[:, 0]

    @property
    def unit(self) -> str:
        """What one token stands for."""
        return "token"

    def n_tokens(self, length: int) -> int:
        """Return the most tokens that a protein of that many residues can have."""
        return super().n_tokens(length) + length // self.line

    def tokens_of_residues(self, tokens: Tokens, row: int) -> Tensor:
        """Return the token that holds each residue, ``[residue]``."""
        found = tokens.residues[row].nonzero()[:, 0]
        return found.repeat_interleave(self.sizes.to(found.device)[tokens.ids[row, found]])

    def encode(self, sequences: Sequence[str]) -> Tokens:
        """Spell sequences in lines, padded on the right."""
        rows = [[*self.prefix, *self._body(sequence), *self.suffix] for sequence in sequences]
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.full((len(rows), int(lengths.max())), self.pad)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
        attended = torch.arange(ids.shape[1]) < lengths[:, None]
        return Tokens(ids, attended, attended & (self.sizes[ids] > 0))

    def _body(self, sequence: str) -> list[int]:
        lines = (sequence[start : start + self.line] for start in range(0, len(sequence), self.line))
        return self.tokenizer.encode("\n".join(lines), add_special_tokens=False)
