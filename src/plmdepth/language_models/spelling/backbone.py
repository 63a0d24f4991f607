"""How a model that reads coordinates is given a protein: residues with their backbone, or the backbone alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.spelling.spelling import Presented, Spelling, Tokens
from plmdepth.proteins.protein import Protein


@dataclass(frozen=True, kw_only=True)
class BackboneSpelling(Spelling):
    """One token a residue, and beside it the coordinates of its backbone.

    The coordinates of all residues are shown, of hidden ones too. The targets are those of the same spelling without
    coordinates, and so are the rows that count as context: a measurement acts on the same tokens and is read at the
    same tokens, whatever is shown of them. Where ``shows_residues`` is false, that is their coordinates alone.

    Attributes:
        shows_residues: residues that are no targets are shown; otherwise all of them are hidden.
    """

    shows_residues: bool

    @classmethod
    def of(cls, spelling: Spelling, *, shows_residues: bool) -> Self:
        """Return a spelling with coordinates beside its tokens."""
        return cls(**vars(spelling), shows_residues=shows_residues)

    @property
    def reads_coordinates(self) -> bool:
        """A protein is spelt with the coordinates of its backbone."""
        return True

    def spell(self, proteins: Sequence[Protein]) -> Tokens:
        """Return proteins with their coordinates, and with all residues: `present` hides them.

        Raises:
            InputError: a protein has no coordinates.
        """
        tokens = super().encode([protein.sequence for protein in proteins])
        coordinates = torch.full((*tokens.ids.shape, 3, 3), torch.nan)
        for row, protein in enumerate(proteins):
            if protein.backbone is None:
                raise InputError(f"{protein.id} has no coordinates, which the model reads")
            coordinates[row, self.tokens_of_residues(tokens, row)] = torch.tensor(protein.backbone)
        return replace(tokens, coordinates=coordinates)

    def encode(self, sequences: Sequence[str]) -> Tokens:  # noqa: ARG002 (the signature of all spellings)
        """Refuse: letters say nothing of a structure.

        Raises:
            InputError: always.
        """
        raise InputError("the model reads coordinates, and only letters are given here; use model.modality=sequence")

    def present(self, tokens: Tokens, targets: Tensor) -> Presented:
        """Hide the targets, or all residues; the targets are predicted, each from its own row."""
        presented = super().present(tokens, targets)
        if self.shows_residues:
            return presented
        hidden = torch.where(tokens.residues, self.hidden(tokens.ids), tokens.ids)
        return replace(presented, tokens=replace(tokens, ids=hidden))
