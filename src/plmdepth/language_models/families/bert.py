"""BERT: a post-norm encoder, trained on masked tokens (Devlin et al. 2019): ProtBERT (Elnaggar et al. 2022) and BERT.

A block is ``x = LN(h + attention(h))``, ``h' = LN(x + mlp(x))``. So a layer whose attention and MLP add nothing still
applies two norms, ``LN(LN(h))``: it is not the layer that is skipped, which leaves ``h``.

Proteins are spelled by token ids, a token a residue: the published tokenizer of ProtBERT needs spaces between residues
and upper case, and reads anything else as one unknown token. U, Z, O and B are read as X, as published; the vocabulary
has rows for them, which training did not use.

``bert_base`` is a control: a language model that reads letters. It knows English words, and gets a protein as the
letters of its residues, one by one.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from torch import nn
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel

from plmdepth.language_models.anatomy import Anatomy
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.spelling.spelling import Spelling
from plmdepth.proteins.protein import CANONICAL

VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"LAGVESIKRDTPNQFYMHCWXUBZO")
PROTEIN = Spelling(
    letters=MappingProxyType({letter: VOCABULARY.index(letter) for letter in CANONICAL + "X"}),
    prefix=(VOCABULARY.index("[CLS]"),),
    suffix=(VOCABULARY.index("[SEP]"),),
    pad=VOCABULARY.index("[PAD]"),
    mask=VOCABULARY.index("[MASK]"),
)
ENGLISH_SPECIAL = {"[PAD]": 0, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
_FIRST_LETTER = 1037  # a, of bert-base-uncased; the others follow in the order of the alphabet
ENGLISH = Spelling(
    letters=MappingProxyType({letter: _FIRST_LETTER + ord(letter) - ord("A") for letter in CANONICAL + "X"}),
    prefix=(ENGLISH_SPECIAL["[CLS]"],),
    suffix=(ENGLISH_SPECIAL["[SEP]"],),
    pad=ENGLISH_SPECIAL["[PAD]"],
    mask=ENGLISH_SPECIAL["[MASK]"],
)
_ENGLISH_ROWS = 30522


@dataclass(frozen=True, kw_only=True)
class BERTEncoder(LanguageModel):
    """A `BertForMaskedLM` of any vocabulary.

    Attributes:
        n_positions: rows of the table of positions, which a protein, ``[CLS]`` and ``[SEP]`` must fit.
    """

    architecture: ClassVar[type[PreTrainedModel]] = BertForMaskedLM
    distinguishing: ClassVar[tuple[str, ...]] = ("intermediate_size", "max_position_embeddings", "hidden_act")
    n_positions: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positions(self.n_positions)

    @property
    @abstractmethod
    def vocabulary_rows(self) -> int:
        """Rows of the embedding."""

    def architecture_config(self) -> BertConfig:
        """Return the configuration of the published models at this size."""
        return BertConfig(
            vocab_size=self.vocabulary_rows,
            hidden_size=self.width,
            num_hidden_layers=self.n_layers,
            num_attention_heads=self.n_heads,
            intermediate_size=4 * self.width,
            hidden_act="gelu",
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            max_position_embeddings=self.n_positions,
            layer_norm_eps=1e-12,
            pad_token_id=self.spelling.pad,
        )

    def anatomy(self, module: Any) -> Anatomy:
        """Return the parts of a `BertForMaskedLM`: there is no final norm, every layer ends in one."""
        return post_norm_anatomy(module.bert.encoder.layer, module.cls)


@dataclass(frozen=True, kw_only=True)
class BERT(BERTEncoder):
    """BERT as it reads residues or English.

    Attributes:
        vocabulary: what it was trained on: residues, or English.
    """

    vocabulary: Literal["protein", "english"]

    @property
    def spelling(self) -> Spelling:
        """One token a residue between ``[CLS]`` and ``[SEP]``."""
        return PROTEIN if self.vocabulary == "protein" else ENGLISH

    @property
    def token_ids(self) -> Mapping[str, int]:
        """The ids of all tokens of ProtBERT; of English, those that spell a protein."""
        if self.vocabulary == "protein":
            return {token: index for index, token in enumerate(VOCABULARY)}
        return {letter.lower(): index for letter, index in ENGLISH.letters.items()} | ENGLISH_SPECIAL

    @property
    def vocabulary_rows(self) -> int:
        """Rows of the embedding."""
        return len(VOCABULARY) if self.vocabulary == "protein" else _ENGLISH_ROWS


def post_norm_anatomy(layers: Any, head: nn.Module) -> Anatomy:
    """Return the parts of an encoder of BERT's blocks.

    Args:
        layers: the blocks.
        head: from a state of the last layer to logits.
    """
    return Anatomy(
        layers=list(layers),
        attention_outputs=[layer.attention.output.dense for layer in layers],
        mlp_outputs=[layer.output.dense for layer in layers],
        norm=nn.Identity(),
        head=head,
        wiring="post_norm",
        causal=False,
        between=[layer.attention.output.LayerNorm for layer in layers],
    )
