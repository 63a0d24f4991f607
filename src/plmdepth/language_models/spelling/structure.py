"""How a family spells structures: one structure token a residue, alone or beside the residues."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.spelling.spelling import Spelling, Tokens
from plmdepth.proteins.protein import Protein, StructureAlphabet


@dataclass(frozen=True, kw_only=True)
class StructureSpelling(Spelling):
    """The structure tokens of a protein, one a residue; its letters are not spelt.

    Attributes:
        first_code: token id of code 0; the others follow.
        n_codes: number of codes.
    """

    first_code: int
    n_codes: int

    @property
    def amino_acids(self) -> Tensor:
        """Token ids of all codes, ``[code]``, which take the place of the twenty amino acids."""
        return torch.arange(self.first_code, self.first_code + self.n_codes)

    @property
    def structure_alphabet(self) -> StructureAlphabet | None:
        """DPLM-2's codes."""
        return "dplm2"

    def spell(self, proteins: Sequence[Protein]) -> Tokens:
        """Return what the model reads of proteins.

        Raises:
            InputError: a protein has no structure tokens, or codes that the model has not.
        """
        return self._padded([self._body(protein) for protein in proteins])

    def encode(self, sequences: Sequence[str]) -> Tokens:  # noqa: ARG002 (the signature of all spellings)
        """Refuse: letters say nothing of a structure.

        Raises:
            InputError: always.
        """
        raise InputError("the model reads structure tokens, and letters alone are given; use model.modality=sequence")

    def _body(self, protein: Protein) -> list[int]:
        codes = protein.structure_tokens
        if codes is None:
            raise InputError(f"{protein.id} has no structure tokens, which the model reads")
        if not all(0 <= code < self.n_codes for code in codes):
            raise InputError(f"the structure tokens of {protein.id} are not all among the model's {self.n_codes}")
        return [self.first_code + code for code in codes]


@dataclass(frozen=True, kw_only=True)
class JointSpelling(Spelling):
    """Two spellings of the same proteins side by side, each padded on its own, so that both are of one length.

    One of them is measured: its residues alone are in the residue mask, hidden and predicted. The other is shown whole;
    to measurements its tokens are special tokens.

    Attributes:
        halves: both spellings, in order.
        measured: the index of the one that is measured.
    """

    halves: tuple[Spelling, Spelling]
    measured: int

    @classmethod
    def of(cls, halves: tuple[Spelling, Spelling], measured: int) -> Self:
        """Return the joint spelling, whose letters and special tokens are those of the measured half."""
        half = halves[measured]
        return cls(
            letters=half.letters,
            prefix=half.prefix,
            suffix=half.suffix,
            pad=half.pad,
            mask=half.mask,
            halves=halves,
            measured=measured,
        )

    @property
    def amino_acids(self) -> Tensor:
        """Token ids among which a token of the measured half is predicted, ``[choice]``."""
        return self.halves[self.measured].amino_acids

    @property
    def structure_alphabet(self) -> StructureAlphabet | None:
        """The alphabet of the half that spells structures."""
        return next((half.structure_alphabet for half in self.halves if half.structure_alphabet), None)

    def n_tokens(self, length: int) -> int:
        """Return the number of tokens of a protein of that many residues, in both halves."""
        return sum(half.n_tokens(length) for half in self.halves)

    def spell(self, proteins: Sequence[Protein]) -> Tokens:
        """Return what the model reads of proteins."""
        spelt = [half.spell(proteins) for half in self.halves]
        residues = [
            tokens.residues & (index == self.measured) for index, tokens in enumerate(spelt)
        ]  # of the measured half alone
        return Tokens(
            ids=torch.cat([tokens.ids for tokens in spelt], dim=1),
            attended=torch.cat([tokens.attended for tokens in spelt], dim=1),
            residues=torch.cat(residues, dim=1),
        )

    def encode(self, sequences: Sequence[str]) -> Tokens:  # noqa: ARG002 (the signature of all spellings)
        """Refuse: letters say nothing of a structure.

        Raises:
            InputError: always.
        """
        raise InputError("the model reads structure tokens, and letters alone are given; use model.modality=sequence")
