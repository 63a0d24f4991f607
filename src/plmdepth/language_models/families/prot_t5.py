"""T5 models of proteins: ProtT5 (Elnaggar et al. 2022), Ankh (Elnaggar et al. 2023), ProstT5 (Heinzinger et al. 2024).

All spell a residue as one token and end in ``</s>``; U, Z, O and B are read as X, as published. The ids are those of
the vocabulary that was printed for ProtT5 (ProtTrans, issue 42) and of ProstT5's list of added tokens; Ankh is reported
to have the same letters, and the number and order of its sentinels are inferred from the size of its vocabulary. A
checkpoint's own ``tokenizer.json`` or ``spiece.model`` comes first.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from plmdepth.language_models.families.t5 import T5, Vocabulary
from plmdepth.proteins.protein import CANONICAL

_ORDER = "ALGVSREDTIPKFQNYMHWCXBOUZ"
_FIRST_LETTER = 3  # after <pad>, </s> and <unk>
_LETTERS = MappingProxyType({letter: _FIRST_LETTER + _ORDER.index(letter) for letter in CANONICAL + "X"})
_FIRST_SENTINEL = _FIRST_LETTER + len(_ORDER)
_PROT_T5_ROWS = 128
_STRUCTURES = _ORDER[:20].lower()  # 3Di letters in ProstT5, after ProtT5's vocabulary


def _sentinels(number: int) -> range:
    """Return ids of sentinels; the last of the vocabulary is the first that is used."""
    return range(_FIRST_SENTINEL + number - 1, _FIRST_SENTINEL - 1, -1)


@dataclass(frozen=True, kw_only=True)
class ProtT5(T5):
    """ProtT5-XL: the same sentinel stands for every hidden residue, and the decoder writes the whole protein."""

    vocabulary: ClassVar[Vocabulary] = Vocabulary(
        rows=_PROT_T5_ROWS, letters=_LETTERS, sentinels=_sentinels(100), whole=True
    )


@dataclass(frozen=True, kw_only=True)
class ProstT5(T5):
    """ProtT5, trained further on sequences and structures; the sequence is read.

    The encoder reads ``<AA2fold>`` first, as published for embeddings. After it the decoder would write 3Di letters,
    for which a sequence holds no truth. So the decoder is measured without it, on the denoising of ProtT5, the model
    that it was made from.
    """

    vocabulary: ClassVar[Vocabulary] = Vocabulary(
        rows=_PROT_T5_ROWS + len(_STRUCTURES) + 2,
        letters=_LETTERS,
        sentinels=_sentinels(100),
        whole=True,
        prefix=MappingProxyType({"<AA2fold>": _PROT_T5_ROWS + len(_STRUCTURES) + 1}),
    )


@dataclass(frozen=True, kw_only=True)
class Ankh(T5):
    """Ankh: each hidden residue has a sentinel of its own, and the decoder writes sentinels and residues by turns.

    Its published head is not its embedding. transformers ties the two in untrained models; a checkpoint's head is kept.
    """

    vocabulary: ClassVar[Vocabulary] = Vocabulary(rows=144, letters=_LETTERS, sentinels=_sentinels(115), whole=False)
