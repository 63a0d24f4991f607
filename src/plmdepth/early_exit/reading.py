"""What heads read of a batch as it runs: one row a protein, or one a residue."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from plmdepth.language_models.spelling.spelling import Spelling, Tokens


class Reader(Protocol):
    """Makes the rows that heads read out of states."""

    def places(self, tokens: Tokens) -> Tensor:
        """Return where the rows of a batch are read, ``[protein, ...]``: a protein's part can be taken out."""

    def present(self, places: Tensor) -> Tensor:
        """Return which rows each protein has, ``[protein, row]`` boolean."""

    def rows(self, layer: int, state: Tensor, places: Tensor) -> Tensor:
        """Return the rows that are present, protein by protein, ``[row, feature]``, single precision.

        Args:
            layer: l, from 0.
            state: ``h_l``, ``[protein, token, feature]``.
            places: of the same proteins.
        """


@dataclass(frozen=True)
class ProteinReader:
    """Reads one row a protein.

    Attributes:
        pool: from a layer, its states and the residue mask ``[protein, token]`` to ``[protein, feature]``.
    """

    pool: Callable[[int, Tensor, Tensor], Tensor]

    def places(self, tokens: Tokens) -> Tensor:
        """Return the residue mask, ``[protein, token]``."""
        return tokens.residues

    def present(self, places: Tensor) -> Tensor:
        """Return that there is one row a protein, ``[protein, 1]``."""
        return torch.ones_like(places[:, :1])

    def rows(self, layer: int, state: Tensor, places: Tensor) -> Tensor:
        """Return the pooled states, ``[protein, feature]``."""
        return self.pool(layer, state, places)


@dataclass(frozen=True)
class ResidueReader:
    """Reads every residue of a protein, from its first to its last.

    Attributes:
        spelling: tells where residues are.
    """

    spelling: Spelling

    def places(self, tokens: Tokens) -> Tensor:
        """Return the token of every residue, ``[protein, residue]``, -1 after the last."""
        found = [self.spelling.tokens_of_residues(tokens, row) for row in range(len(tokens.ids))]
        return pad_sequence(found, batch_first=True, padding_value=-1)

    def present(self, places: Tensor) -> Tensor:
        """Return where residues are, ``[protein, residue]``."""
        return places >= 0

    def rows(self, layer: int, state: Tensor, places: Tensor) -> Tensor:  # noqa: ARG002 (the signature of all readers)
        """Return the states of residues, ``[residue, feature]``."""
        protein, residue = self.present(places).nonzero(as_tuple=True)
        return state[protein, places[protein, residue]].float()
