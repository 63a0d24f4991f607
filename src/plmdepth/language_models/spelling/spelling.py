"""How a family spells a protein as tokens, and the padded batch of tokens that a model reads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor

from plmdepth.proteins.protein import CANONICAL, Protein, StructureAlphabet


@dataclass(frozen=True)
class Tokens:
    """A padded batch.

    Attributes:
        ids: token ids, ``[batch, token]``.
        attended: true for every token but padding, ``[batch, token]``.
        residues: the residue mask, true for residues only, ``[batch, token]``.
        source: what an encoder reads beside, where these are the tokens of its decoder.
        coordinates: N, CA and C of residues, for models that read them, ``[batch, token, atom, 3]``; NaN where unknown,
            at special tokens and padding.
    """

    ids: Tensor
    attended: Tensor
    residues: Tensor
    source: "Tokens | None" = None
    coordinates: Tensor | None = None

    def to(self, device: torch.device | str) -> "Tokens":
        """Return the batch on another device."""
        source = None if self.source is None else self.source.to(device)
        coordinates = None if self.coordinates is None else self.coordinates.to(device)
        return Tokens(self.ids.to(device), self.attended.to(device), self.residues.to(device), source, coordinates)

    def sequence(self, row: int) -> "Tokens":
        """Return one sequence alone, without its padding."""
        only, kept = slice(row, row + 1), self.attended[row]
        source = None if self.source is None else self.source.sequence(row)
        coordinates = None if self.coordinates is None else self.coordinates[only, kept]
        return Tokens(self.ids[only, kept], self.attended[only, kept], self.residues[only, kept], source, coordinates)


@dataclass(frozen=True)
class Presented:
    """A batch in which residues are hidden, and what is to be predicted. All tensors are ``[batch, token]``.

    Attributes:
        tokens: what the model reads.
        labels: token id that the logits of this row should predict; meaningful where scored.
        scored: true for rows whose logits predict a hidden residue.
        context: true for rows that read a residue which is shown.
    """

    tokens: Tokens
    labels: Tensor
    scored: Tensor
    context: Tensor


@dataclass(frozen=True)
class Spelling:
    """One token a residue, between a fixed prefix and a fixed suffix.

    Attributes:
        letters: token id of every letter that the family can spell; must hold the twenty amino acids and X.
        prefix: token ids before the first residue.
        suffix: token ids after the last residue.
        pad: id of the padding token.
        mask: id of the mask token, or None where the family has none.
        reverse: residues are spelt from the last to the first, C terminus before N terminus.
    """

    letters: MappingProxyType[str, int]
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    pad: int
    mask: int | None
    reverse: bool = False

    def __post_init__(self) -> None:
        missing = set(CANONICAL + "X") - set(self.letters)
        if missing:
            raise ValueError(f"a spelling needs the twenty amino acids and X; missing: {sorted(missing)}")

    @property
    def amino_acids(self) -> Tensor:
        """Token ids among which a residue is predicted: the twenty amino acids in the order of `CANONICAL`."""
        return torch.tensor([self.letters[letter] for letter in CANONICAL])

    @property
    def unit(self) -> str:
        """What one token stands for: a residue."""
        return "residue"

    @property
    def reads_structure(self) -> bool:
        """Whether a protein is spelt with its structure tokens."""
        return self.structure_alphabet is not None

    @property
    def structure_alphabet(self) -> StructureAlphabet | None:
        """The alphabet of the structure tokens that a protein is spelt with; None without."""
        return None

    @property
    def reads_coordinates(self) -> bool:
        """Whether a protein is spelt with the coordinates of its backbone."""
        return False

    def n_tokens(self, length: int) -> int:
        """Return the number of tokens of a protein of that many residues."""
        return len(self.prefix) + length + len(self.suffix)

    def spell(self, proteins: Sequence[Protein]) -> Tokens:
        """Return what the model reads of proteins."""
        return self.encode([protein.sequence for protein in proteins])

    def tokens_of_residues(self, tokens: Tokens, row: int) -> Tensor:
        """Return where the residues of a row stand, in the order of the protein, ``[residue]``."""
        found = tokens.residues[row].nonzero()[:, 0]
        return found.flip(0) if self.reverse else found

    def in_order(self, positions: Sequence[int]) -> tuple[int, ...]:
        """Return ascending positions of a protein in the order in which they are spelt."""
        return tuple(reversed(positions)) if self.reverse else tuple(positions)

    def encode(self, sequences: Sequence[str]) -> Tokens:
        """Spell sequences, one token a residue, padded on the right.

        A letter that the family cannot spell is read as X. Lengths never change.

        >>> from plmdepth.language_models.families.esm2 import SPELLING
        >>> SPELLING.encode(["MK", "A"]).ids.tolist()
        [[0, 20, 15, 2], [0, 5, 2, 1]]
        """
        unknown = self.letters["X"]
        return self._padded([[self.letters.get(letter, unknown) for letter in sequence] for sequence in sequences])

    def hidden(self, ids: Tensor) -> Tensor:
        """Return what residues become when they are hidden, in the shape of their token ids: the mask token."""
        assert self.mask is not None, "the objective is checked against the model before any batch is made"
        return torch.full_like(ids, self.mask)

    def present(self, tokens: Tokens, targets: Tensor) -> Presented:
        """Hide residues; each is predicted from its own row.

        Args:
            tokens: the whole proteins.
            targets: the residues to hide, ``[batch, token]``.
        """
        shown = torch.where(targets, self.hidden(tokens.ids), tokens.ids)
        return Presented(replace(tokens, ids=shown), tokens.ids, targets, tokens.residues & ~targets)

    def _padded(self, bodies: Sequence[Sequence[int]]) -> Tokens:
        """Put the token ids of residues, given in the order of the protein, between prefix and suffix, and pad."""
        lengths = torch.tensor([self.n_tokens(len(body)) for body in bodies])
        ids = torch.full((len(bodies), int(lengths.max())), self.pad)
        residues = torch.zeros_like(ids, dtype=torch.bool)
        for row, body in enumerate(bodies):
            spelt = body[::-1] if self.reverse else body
            ids[row, : lengths[row]] = torch.tensor([*self.prefix, *spelt, *self.suffix])
            residues[row, len(self.prefix) : len(self.prefix) + len(body)] = True
        return Tokens(ids=ids, attended=torch.arange(ids.shape[1]) < lengths[:, None], residues=residues)
