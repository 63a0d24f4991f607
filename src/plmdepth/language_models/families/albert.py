"""ALBERT: one post-norm block applied L times (Lan et al. 2020): ProtAlbert (Elnaggar et al. 2022) and ALBERT.

A layer is a call of the block, not a module: layer l is the l-th call, and an intervention on it leaves the other calls
alone. To skip one is to apply the block once less. All layers have the same weights, so what differs between them is
the state alone.

The ids of ProtAlbert's letters are in no document. They are those of the ``spiece.model`` or ``tokenizer.json`` beside
its weights, without which it is not read; in an untrained model, where ids mean nothing, letters follow the special
tokens and marks of ALBERT in ProtBERT's order. U, Z, O and B are read as X, and X as the unknown token if the
vocabulary lacks it.

``albert_xxlarge`` is a control: a language model that reads letters. D, E, N, S, T and Y are no words of its
vocabulary, and are spelled as pieces of words.
"""

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from torch import nn
from transformers import AlbertConfig, AlbertForMaskedLM, PreTrainedModel

from plmdepth.language_models.anatomy import Anatomy
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.spelling.published import respelled
from plmdepth.language_models.spelling.spelling import Spelling, Tokens

SPECIAL = MappingProxyType({"<pad>": 0, "<unk>": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4})
_FIRST_LETTER = 13  # after the special tokens and eight marks
_ORDER = "LAGVESIKRDTPNQFYMHCWX"
_WORDS = {
    **{"A": 21, "C": 272, "F": 398, "G": 489, "H": 746, "I": 31, "K": 680, "L": 644, "M": 307, "P": 351, "Q": 2593},
    **{"R": 761, "V": 566, "W": 619, "X": 993},
}
_PIECES = {"D": 43, "E": 62, "N": 103, "S": 18, "T": 38, "Y": 93}


def _between_specials(letters: dict[str, int]) -> Spelling:
    return Spelling(
        letters=MappingProxyType(letters),
        prefix=(SPECIAL["[CLS]"],),
        suffix=(SPECIAL["[SEP]"],),
        pad=SPECIAL["<pad>"],
        mask=SPECIAL["[MASK]"],
    )


PROTEIN = _between_specials({letter: _FIRST_LETTER + index for index, letter in enumerate(_ORDER)})
ENGLISH = _between_specials(_WORDS | _PIECES)
_ROWS = {"protein": _FIRST_LETTER + len(_ORDER), "english": 30_000}


@dataclass(frozen=True, kw_only=True)
class ALBERT(LanguageModel):
    """An `AlbertForMaskedLM` of one block.

    Attributes:
        vocabulary: what it was trained on: residues, or English.
        n_positions: rows of the table of positions, which a protein, ``[CLS]`` and ``[SEP]`` must fit.
        embedding_width: features of the embeddings, which are mapped to the stream before layer 1.
        activation: of the MLP; ``gelu_new`` is the approximation by a hyperbolic tangent.
    """

    architecture: ClassVar[type[PreTrainedModel]] = AlbertForMaskedLM
    distinguishing: ClassVar[tuple[str, ...]] = (
        *("embedding_size", "intermediate_size", "max_position_embeddings", "hidden_act"),
        *("num_hidden_groups", "inner_group_num"),
    )
    vocabulary: Literal["protein", "english"]
    n_positions: int
    embedding_width: int
    activation: Literal["gelu", "gelu_new"]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positions(self.n_positions)

    @property
    def spelling(self) -> Spelling:
        """One token a residue between ``[CLS]`` and ``[SEP]``."""
        return PROTEIN if self.vocabulary == "protein" else ENGLISH

    def published_spelling(self, place: Path) -> Spelling:
        """Return the spelling by the vocabulary beside the weights, where no document has the ids of letters."""
        return respelled(PROTEIN, SPECIAL, place) if self.vocabulary == "protein" else ENGLISH

    def architecture_config(self) -> AlbertConfig:
        """Return the configuration of the published models at this size."""
        return AlbertConfig(
            vocab_size=_ROWS[self.vocabulary],
            embedding_size=self.embedding_width,
            hidden_size=self.width,
            num_hidden_layers=self.n_layers,
            num_hidden_groups=1,
            inner_group_num=1,
            num_attention_heads=self.n_heads,
            intermediate_size=4 * self.width,
            hidden_act=self.activation,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            max_position_embeddings=self.n_positions,
            layer_norm_eps=1e-12,
        )

    def anatomy(self, module: Any) -> Anatomy:
        """Return the parts of an `AlbertForMaskedLM`: the same block L times, and no final norm."""
        encoder, n_layers = module.albert.encoder, module.config.num_hidden_layers
        (group,) = encoder.albert_layer_groups
        (block,) = group.albert_layers
        return Anatomy(
            layers=[group] * n_layers,
            attention_outputs=[block.attention.dense] * n_layers,
            mlp_outputs=[block.ffn_output] * n_layers,
            norm=nn.Identity(),
            head=module.predictions,
            wiring="post_norm",
            causal=False,
            between=[block.attention.LayerNorm] * n_layers,
            inputs=_inputs,
        )


def _inputs(tokens: Tokens) -> dict[str, Any]:
    return {"input_ids": tokens.ids, "attention_mask": tokens.attended.long()}
