"""Pooling that is learnt: how much each residue counts for the vector of its protein."""

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn


class ProteinStates(NamedTuple):
    """The residues of some proteins.

    Attributes:
        states: ``[residue, layer, feature]``, or of one layer ``[residue, feature]``.
        segment: the protein of each residue, counted from 0, ``[residue]``; every protein has one or more.
        n_proteins: how many proteins they are of.
    """

    states: Tensor
    segment: Tensor
    n_proteins: int

    def to(self, device: torch.device | str) -> Self:
        """Return them on another device."""
        return self._replace(states=self.states.to(device), segment=self.segment.to(device))

    def of_layer(self, index: int) -> "ProteinStates":
        """Return those of one of the layers, counted from 0 among those that are there."""
        return ProteinStates(self.states[:, index], self.segment, self.n_proteins)


def proteins_of(states: Tensor, residues: Tensor) -> ProteinStates:
    """Return the residues of a padded batch.

    Args:
        states: of one layer, ``[protein, token, feature]``.
        residues: which tokens are residues, ``[protein, token]`` boolean.
    """
    return ProteinStates(states[residues], residues.nonzero()[:, 0], len(states))


class AttentionPooling(nn.Module):
    """Weighs residues by a query that is learnt: ``sum_i softmax_i(q . x_i) x_i`` over the residues i of a protein.

    The query begins at zero, so that the pooled vector begins as the mean.

    Args:
        width: features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(width))

    def weights(self, proteins: ProteinStates) -> Tensor:
        """Return the weight of every residue of one layer, ``[residue]``, adding up to 1 in each protein."""
        scores = (proteins.states.float() * self.query).sum(-1)
        highest = scores.new_full((proteins.n_proteins,), -torch.inf)
        highest = highest.scatter_reduce(0, proteins.segment, scores.detach(), "amax")
        raised = (scores - highest[proteins.segment]).exp()
        total = raised.new_zeros(proteins.n_proteins).index_add(0, proteins.segment, raised)
        return raised / total[proteins.segment]

    def forward(self, proteins: ProteinStates) -> Tensor:
        """Return one vector a protein, ``[protein, feature]``, of the residues of one layer."""
        states = proteins.states.float()
        pooled = states.new_zeros((proteins.n_proteins, states.shape[-1]))
        return pooled.index_add(0, proteins.segment, self.weights(proteins)[:, None] * states)
