"""XLNet: a post-norm model of permuted order (Yang et al. 2019): ProtXLNet (Elnaggar et al. 2022) and XLNet.

It was trained to predict tokens one after the other in a drawn order, each from what comes before it in that order and
wherever that stands: the model itself has no order but that of the mask. Here all targets are hidden at once, as from
masked models. Each is predicted as if it were the first after the shown residues; that the second may see the first, as
in training, is not measured. No other token sees a target, and no target sees itself.

A state is that of the content stream where a token is shown, and of the query stream where it is hidden and predicted
(`modules.xlnet` has the reason). So curves over all residues mix both; ``scope=targets`` tells them apart: it changes
the one and measures the other.

Proteins end in ``<sep><cls>``, with ``<cls>`` in a segment of its own. The published tokenizer pads on the left; here
padding is on the right, which is the same: it is not attended to, and positions are distances. Memory, the states of
text before, is not used. U, Z, O, B and X are read as ``<unk>``: ProtXLNet's vocabulary has twenty letters.

The ids of ProtXLNet's letters are in no document. They are those of the ``spiece.model`` or ``tokenizer.json`` beside
its weights, without which it is not read; in an untrained model, where ids mean nothing, letters follow the special
tokens and marks of XLNet in ProtBERT's order.

``xlnet_large`` is a control: a language model that reads letters. S is no word of its vocabulary, and is spelled as a
piece of words.
"""

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from transformers import PreTrainedModel, XLNetConfig

from plmdepth.language_models.anatomy import Anatomy
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.modules.xlnet import OneStreamXLNet
from plmdepth.language_models.spelling.published import respelled
from plmdepth.language_models.spelling.spelling import Spelling, Tokens

SPECIAL = MappingProxyType({"<unk>": 0, "<cls>": 3, "<sep>": 4, "<pad>": 5, "<mask>": 6})
_FIRST_LETTER = 17  # after nine special tokens and eight marks
_ORDER = "LAGVESIKRDTPNQFYMHCW"
_WORDS = {
    **{"A": 79, "C": 330, "D": 347, "E": 362, "F": 518, "G": 457, "H": 732, "I": 35, "K": 574, "L": 657, "M": 414},
    **{"N": 578, "P": 395, "Q": 2191, "R": 482, "T": 430, "V": 1024, "W": 543, "X": 1404, "Y": 2772},
}
_PIECES = {"S": 83}


def _before_specials(letters: dict[str, int]) -> Spelling:
    return Spelling(
        letters=MappingProxyType(letters),
        prefix=(),
        suffix=(SPECIAL["<sep>"], SPECIAL["<cls>"]),
        pad=SPECIAL["<pad>"],
        mask=SPECIAL["<mask>"],
    )


PROTEIN = _before_specials(
    {letter: _FIRST_LETTER + index for index, letter in enumerate(_ORDER)} | {"X": SPECIAL["<unk>"]}
)
ENGLISH = _before_specials(_WORDS | _PIECES)
_ROWS = {"protein": _FIRST_LETTER + len(_ORDER), "english": 32_000}
_OWN_SEGMENT = 2  # the number of <cls>'s segment


@dataclass(frozen=True, kw_only=True)
class XLNet(LanguageModel):
    """An XLNet whose two streams are one state a token.

    Attributes:
        vocabulary: what it was trained on: residues, or English.
    """

    architecture: ClassVar[type[PreTrainedModel]] = OneStreamXLNet
    distinguishing: ClassVar[tuple[str, ...]] = ("d_inner", "attn_type", "bi_data")
    vocabulary: Literal["protein", "english"]

    @property
    def spelling(self) -> Spelling:
        """One token a residue before ``<sep><cls>``."""
        return PROTEIN if self.vocabulary == "protein" else ENGLISH

    def published_spelling(self, place: Path) -> Spelling:
        """Return the spelling by the vocabulary beside the weights, where no document has the ids of letters."""
        return respelled(PROTEIN, SPECIAL, place) if self.vocabulary == "protein" else ENGLISH

    def architecture_config(self) -> XLNetConfig:
        """Return the configuration of the published models at this size."""
        return XLNetConfig(
            vocab_size=_ROWS[self.vocabulary],
            d_model=self.width,
            n_layer=self.n_layers,
            n_head=self.n_heads,
            d_inner=4 * self.width,
            ff_activation="gelu",
            layer_norm_eps=1e-12,
            dropout=0.0,
            mem_len=None,
            pad_token_id=SPECIAL["<pad>"],
        )

    def anatomy(self, module: Any) -> Anatomy:
        """Return the parts of a `OneStreamXLNet`: there is no final norm, every layer ends in one."""
        layers = module.transformer.layer
        return Anatomy(
            layers=list(layers),
            attention_outputs=[layer.rel_attn for layer in layers],
            mlp_outputs=[layer.ff.layer_2 for layer in layers],
            norm=nn.Identity(),
            head=module.lm_loss,
            wiring="post_norm",
            causal=False,
            between=[layer.rel_attn.layer_norm for layer in layers],
            inputs=_inputs,
        )


def _inputs(tokens: Tokens) -> dict[str, Tensor]:
    return {
        "input_ids": tokens.ids,
        "hidden": tokens.ids == SPECIAL["<mask>"],
        "attended": tokens.attended,
        "segments": (tokens.ids == SPECIAL["<cls>"]) * _OWN_SEGMENT,
    }
