"""AntiBERTy: BERT on single antibody chains (Ruffolo et al. 2021, arXiv 2112.07782), heavy and light alike.

It was trained on 558 million natural chains by hiding 15 % of their residues, as BERT is. Its own tokens are 25, of
which 20 are residues: every other letter is ``[UNK]``, which training also put in the place of residues that were not
sequenced. The heavy and the light chain of an antibody are two proteins here.

The published file also predicts the species, the chain and a graft from ``[CLS]``; these heads are not read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from plmdepth.language_models.checkpoints.packages import Package
from plmdepth.language_models.families.bert import BERTEncoder
from plmdepth.language_models.spelling.spelling import Spelling
from plmdepth.proteins.letters import NONCANONICAL
from plmdepth.proteins.protein import CANONICAL

VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CANONICAL)
_UNKNOWN = VOCABULARY.index("[UNK]")
SPELLING = Spelling(
    letters=MappingProxyType(
        {**{letter: VOCABULARY.index(letter) for letter in CANONICAL}, **dict.fromkeys(NONCANONICAL, _UNKNOWN)}
    ),
    prefix=(VOCABULARY.index("[CLS]"),),
    suffix=(VOCABULARY.index("[SEP]"),),
    pad=VOCABULARY.index("[PAD]"),
    mask=VOCABULARY.index("[MASK]"),
)


@dataclass(frozen=True, kw_only=True)
class AntiBERTy(BERTEncoder):
    """AntiBERTy, whose weights lie in its Python package."""

    package: ClassVar[Package | None] = Package("antiberty", "0.1.3", "antiberty/trained_models/AntiBERTy_md_smooth")
    trained_length: ClassVar[int | None] = 200  # the rows of positions beyond are as they were initialised

    @property
    def spelling(self) -> Spelling:
        """One token a residue between ``[CLS]`` and ``[SEP]``."""
        return SPELLING

    @property
    def token_ids(self) -> Mapping[str, int]:
        """The ids of all tokens."""
        return {token: index for index, token in enumerate(VOCABULARY)}

    @property
    def vocabulary_rows(self) -> int:
        """Rows of the embedding."""
        return len(VOCABULARY)
