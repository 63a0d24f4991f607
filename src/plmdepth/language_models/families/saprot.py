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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import EsmConfig

from plmdepth.language_models.anatomy import Anatomy
from plmdepth.language_models.families.esm2 import ESM2
from plmdepth.language_models.language_model import Modality
from plmdepth.language_models.spelling.spelling import Presented, Spelling, Tokens
from plmdepth.proteins.backbones import LETTERS
from plmdepth.proteins.protein import CANONICAL, Protein, StructureAlphabet

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


_IMPOSSIBLE = -1e4  # a logit, within the range of half precision
SPELLING = SaProtSpelling(
    letters=MappingProxyType({residue: _pair(residue, UNKNOWN) for residue in CANONICAL + "X"}),
    prefix=(VOCABULARY.index("<cls>"),),
    suffix=(VOCABULARY.index("<eos>"),),
    pad=VOCABULARY.index("<pad>"),
    mask=_pair(UNKNOWN, UNKNOWN),
)


@dataclass(frozen=True)
class SaProtStructureSpelling(SaProtSpelling):
    """The same for proteins whose structure is known.

    A residue is predicted by the sum of its probability over all structural letters, which `summed_over_structures`
    puts into the column of the pair whose letter is unknown; so these are the labels.
    """

    @property
    def structure_alphabet(self) -> StructureAlphabet | None:
        """3Di letters."""
        return "3di"

    def spell(self, proteins: Sequence[Protein]) -> Tokens:
        """Return residues with their structural letters; a protein without structure has unknown ones."""
        return self.encode_structures([each.sequence for each in proteins], [_letters(each) for each in proteins])

    def present(self, tokens: Tokens, targets: Tensor) -> Presented:
        """Hide the amino acid of residues; each is predicted from its own row."""
        presented = super().present(tokens, targets)
        unknown = tokens.ids - (tokens.ids - _FIRST_PAIR) % len(STRUCTURES) + len(STRUCTURES) - 1
        return replace(presented, labels=torch.where(tokens.residues, unknown, tokens.ids))


def _letters(protein: Protein) -> str:
    if protein.structure_tokens is None:
        return UNKNOWN * len(protein)
    return "".join(LETTERS[code] for code in protein.structure_tokens)


STRUCTURE_SPELLING = SaProtStructureSpelling(
    letters=SPELLING.letters, prefix=SPELLING.prefix, suffix=SPELLING.suffix, pad=SPELLING.pad, mask=SPELLING.mask
)


def summed_over_structures(logits: Tensor) -> Tensor:
    """Return logits in which ``A#`` holds the log of the summed exponentials of ``Ap``, ``Ay``, ..., ``A#``.

    All other columns are as good as impossible, so a softmax over any set of amino acids is the published read-out.
    """
    pairs = logits[..., _FIRST_PAIR:].unflatten(-1, (len(RESIDUES), len(STRUCTURES)))
    summed = torch.full_like(logits, _IMPOSSIBLE)
    unknown = torch.arange(_FIRST_PAIR + len(STRUCTURES) - 1, logits.shape[-1], len(STRUCTURES), device=logits.device)
    summed[..., unknown] = pairs.logsumexp(-1)
    return summed


class _Summed(nn.Module):
    """A head that sums over structural letters."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, state: Tensor) -> Tensor:
        """Return logits ``[..., vocabulary]``."""
        return summed_over_structures(self.head(state))


@dataclass(frozen=True, kw_only=True)
class SaProt(ESM2):
    """An `EsmForMaskedLM` over 446 tokens: five special ones and 21 x 21 pairs.

    ``model.modality=both`` reads residues with the 3Di letters of ``dataset=structures``; ``sequence``, the default,
    residues alone.
    """

    modalities: ClassVar[tuple[Modality, ...]] = ("sequence", "both")

    @property
    def spelling(self) -> SaProtSpelling:
        """One token a residue with its structural letter, between ``<cls>`` and ``<eos>``."""
        return SPELLING if self.modality == "sequence" else STRUCTURE_SPELLING

    def anatomy(self, module: Any) -> Anatomy:
        """Return the parts of an `EsmForMaskedLM`; with structures, its head sums over their letters."""
        parts = super().anatomy(module)
        return parts if self.modality == "sequence" else replace(parts, head=_Summed(module.lm_head))

    @property
    def token_ids(self) -> Mapping[str, int]:
        """The ids of all tokens."""
        return {token: index for index, token in enumerate(VOCABULARY)}

    def architecture_config(self) -> EsmConfig:
        """Return the configuration of the published models at this size."""
        config = super().architecture_config()
        config.vocab_size = len(VOCABULARY)
        config.mask_token_id = VOCABULARY.index("<mask>")
        return config
