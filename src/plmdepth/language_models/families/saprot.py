"""SaProt: ESM-2's architecture over pairs of a residue and its structural letter (Su et al. 2024).

A token is one of the twenty amino acids or ``#``, with one of the twenty letters of Foldseek's 3Di alphabet or ``#``.
``#`` stands for what is not known. A residue is hidden by hiding its amino acid: ``Ad`` becomes ``#d``, not ``<mask>``,
as in training. So ESM-2's treatment of mask tokens never sees one: embeddings are scaled by 0.88 whatever is hidden.

A protein without a structure is spelled ``M#K#...`` and a hidden residue ``##``. The residues' logits are then those of
the twenty tokens ``A#``, ``C#``, ..., which a model that copies the structural letter of its input predicts there. With
a structure, the published read-out sums the probabilities of an amino acid over all 21 structural letters.

These sizes were trained on predicted structures, where ``#`` marks what is uncertain; their authors advise against
reading frozen states of proteins without a structure, so curves from such input say little about the model at its best.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor
from transformers import EsmConfig

from plmdepth.language_models.families.esm2 import ESM2
from plmdepth.language_models.spelling import Spelling, Tokens
from plmdepth.proteins.protein import CANONICAL

UNKNOWN = "#"
RESIDUES = CANONICAL + UNKNOWN
STRUCTURES = "pynwrqhgdlvtmfsaeikc" + UNKNOWN
VOCABULARY = (
    *("<cls>", "<pad>", "<eos>", "<unk>", "<mask>"),
    *(residue + structure for residue in RESIDUES for structure in STRUCTURES),
)
_FIRST_PAIR = VOCABULARY.index("<mask>") + 1
_HIDDEN_ROW = _FIRST_PAIR + RESIDUES.index(UNKNOWN) * len(STRUCTURES)


@dataclass(frozen=True)
class SaProtSpelling(Spelling):
    """One token a residue and its structural letter."""

    def hidden(self, ids: Tensor) -> Tensor:
        """Return the tokens of hidden residues: the amino acid is not known, the structure stays."""
        return _HIDDEN_ROW + (ids - _FIRST_PAIR) % len(STRUCTURES)

    def encode_structures(self, sequences: Sequence[str], structures: Sequence[str]) -> Tokens:
        """Spell sequences with their structures, padded on the right.

        Args:
            sequences: residues; a letter that is no amino acid is read as ``#``.
            structures: 3Di letters, as many as residues; of either case; any other is read as ``#``.

        >>> SPELLING.encode_structures(["MEV"], ["#vp"]).ids.tolist()
        [[0, 235, 78, 362, 2]]
        """
        return self._padded(
            [
                [_pair(residue, letter) for residue, letter in zip(sequence, structure, strict=True)]
                for sequence, structure in zip(sequences, structures, strict=True)
            ]
        )


def _pair(residue: str, structure: str) -> int:
    row, column = RESIDUES.find(residue), STRUCTURES.find(structure.lower())
    return _FIRST_PAIR + row % len(RESIDUES) * len(STRUCTURES) + column % len(STRUCTURES)  # -1, not found, is the last


SPELLING = SaProtSpelling(
    letters=MappingProxyType({residue: _pair(residue, UNKNOWN) for residue in CANONICAL + "X"}),
    prefix=(VOCABULARY.index("<cls>"),),
    suffix=(VOCABULARY.index("<eos>"),),
    pad=VOCABULARY.index("<pad>"),
    mask=_pair(UNKNOWN, UNKNOWN),
)


@dataclass(frozen=True, kw_only=True)
class SaProt(ESM2):
    """An `EsmForMaskedLM` over 446 tokens: five special ones and 21 x 21 pairs."""

    @property
    def spelling(self) -> SaProtSpelling:
        """One token a residue, its structure unknown, between ``<cls>`` and ``<eos>``."""
        return SPELLING

    def architecture_config(self) -> EsmConfig:
        """Return the configuration of the published models at this size."""
        config = super().architecture_config()
        config.vocab_size = len(VOCABULARY)
        config.mask_token_id = VOCABULARY.index("<mask>")
        return config
