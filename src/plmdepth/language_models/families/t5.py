"""T5: an encoder-decoder with relative positions, trained to restore corrupted text (Raffel et al. 2020).

The two stacks are measured apart. The encoder predicts nothing by itself. The decoder attends to what the encoder makes
of the corrupted protein, and writes; its attention is the sum of both kinds, to itself and to the encoder.

``t5_3b`` is ProtT5's twin, trained on English. Spelled a letter a word, as ProtT5 spells proteins; X and Y are no words
of its vocabulary and are spelled as pieces of words. Its spans of hidden words are spans of one residue here.
The ids come from a copy of T5 1.1's vocabulary, which is taken to be T5's too; a checkpoint's own files come first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

from torch import Tensor, nn
from transformers import PreTrainedModel, T5Config, T5EncoderModel, T5ForConditionalGeneration

from plmdepth.errors import InputError
from plmdepth.language_models.anatomy import Anatomy, token_inputs
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.spelling.decoder import HiddenDecoderSpelling, SentinelSpelling, WholeDecoderSpelling
from plmdepth.language_models.spelling.published import published_letters, published_pieces
from plmdepth.language_models.spelling.spelling import Spelling, Tokens

PAD, END = 0, 1


@dataclass(frozen=True)
class Vocabulary:
    """What a T5 model reads and writes.

    Attributes:
        rows: rows of the embedding.
        letters: token id of every letter.
        sentinels: ids of ``<extra_id_0>``, ``<extra_id_1>``, ..., which stand for what is hidden.
        prefix: what the encoder reads before a protein: tokens and their ids.
        whole: the decoder writes the whole protein, and one sentinel hides every residue; or it writes each sentinel
            and then the residue behind it.
    """

    rows: int
    letters: Mapping[str, int]
    sentinels: range
    whole: bool
    prefix: Mapping[str, int] = field(default_factory=dict)


ENGLISH = Vocabulary(
    rows=32128,
    letters={
        **{"A": 71, "C": 205, "D": 309, "E": 262, "F": 377, "G": 350, "H": 454, "I": 27, "K": 480, "L": 301, "M": 283},
        **{"N": 445, "P": 276, "Q": 1593, "R": 391, "S": 180, "T": 332, "V": 584, "W": 549, "Y": 476, "X": 4},
    },
    sentinels=range(32099, 31999, -1),
    whole=False,
)


class _Encoder(T5EncoderModel):
    """The encoder alone, which a checkpoint of both parts fits too."""

    _keys_to_ignore_on_load_unexpected = ["decoder", "lm_head"]  # noqa: RUF012 (as the class that it extends)


class ScaledHead(nn.Module):
    """A head that is the embedding: it reads ``width ** -0.5 * h``.

    Args:
        head: the linear map of the model.
        scale: the factor.
    """

    def __init__(self, head: nn.Module, scale: float) -> None:
        super().__init__()
        self.head, self.scale = head, scale

    def forward(self, state: Tensor) -> Tensor:
        """Return logits ``[..., vocabulary]`` of normalised states ``[..., feature]``."""
        logits: Tensor = self.head(state * self.scale)
        return logits


@dataclass(frozen=True, kw_only=True)
class T5(LanguageModel):
    """One stack of a `T5ForConditionalGeneration`; ``n_layers`` counts the blocks of its encoder.

    Attributes:
        part: the stack that is measured. For the encoder alone the decoder's weights are not loaded.
        n_decoder_layers: blocks of the decoder.
        key_width: features of queries and keys of a head, which need not divide the width.
        mlp_width: features inside the MLP.
        mlp: its activation; ``gated-gelu`` multiplies two maps.
        position_buckets: classes of relative positions.
        scaled_head: the head is the embedding, and reads scaled states.
    """

    vocabulary: ClassVar[Vocabulary] = ENGLISH
    distinguishing: ClassVar[tuple[str, ...]] = ("d_ff", "d_kv", "feed_forward_proj", "relative_attention_num_buckets")
    part: Literal["encoder", "decoder"] = "decoder"
    n_decoder_layers: int
    key_width: int
    mlp_width: int
    mlp: Literal["relu", "gated-gelu"] = "relu"
    position_buckets: int = 32
    scaled_head: bool = True

    @property
    def architecture(self) -> type[PreTrainedModel]:  # type: ignore[override]
        """The class of the module: of both stacks for the decoder, which needs the encoder."""
        return T5ForConditionalGeneration if self.part == "decoder" else _Encoder

    @property
    def predicts(self) -> bool:
        """The decoder does; the encoder has no head."""
        return self.part == "decoder"

    @property
    def spelling(self) -> Spelling:
        """One token a residue and ``</s>``, by the published vocabulary."""
        return self._spelling({})

    def published_spelling(self, place: Path) -> Spelling:
        """Return the spelling by the ids of ``tokenizer.json`` or ``spiece.model``, where one is there."""
        return self._spelling(published_pieces(place))

    def architecture_config(self) -> T5Config:
        """Return the configuration of the published models at this size."""
        special: dict[str, Any] = {"decoder_start_token_id": PAD, "tie_word_embeddings": self.scaled_head}
        return T5Config(
            vocab_size=self.vocabulary.rows,
            d_model=self.width,
            d_kv=self.key_width,
            d_ff=self.mlp_width,
            num_layers=self.n_layers,
            num_decoder_layers=self.n_decoder_layers,
            num_heads=self.n_heads,
            relative_attention_num_buckets=self.position_buckets,
            dropout_rate=0.0,
            feed_forward_proj=self.mlp,
            pad_token_id=PAD,
            eos_token_id=END,
            use_cache=False,
            **special,
        )

    def anatomy(self, module: Any) -> Anatomy:
        """Return the parts of one stack; layer 1 owns the position bias, which all others receive."""
        is_decoder = self.part == "decoder"
        stack = module.decoder if is_decoder else module.encoder
        return Anatomy(
            layers=list(stack.block),
            attention_outputs=[block.layer[0].SelfAttention.o for block in stack.block],
            mlp_outputs=[block.layer[-1].DenseReluDense.wo for block in stack.block],
            norm=stack.final_layer_norm,
            head=_head(module) if is_decoder else None,
            wiring="sequential",
            causal=is_decoder,
            inputs=_both_inputs if is_decoder else _encoder_inputs,
            second_attention_outputs=[block.layer[1].EncDecAttention.o for block in stack.block] if is_decoder else (),
            handed_on=partial(_position_bias, stack.block[0].layer[0].SelfAttention),
        )

    def resolved(self) -> Self:
        """Return the model that is really built, narrow throughout in a miniature."""
        model = super().resolved()
        return replace(model, n_decoder_layers=4, key_width=8, mlp_width=64) if self.miniature else model

    def _spelling(self, pieces: Mapping[str, int]) -> Spelling:
        """Return the spelling of the part by a vocabulary; what it does not name is as published."""
        known = self.vocabulary
        sentinels = tuple(
            pieces.get(f"<extra_id_{number}>", known.sentinels[number]) for number in range(len(known.sentinels))
        )
        pad = pieces.get("<pad>", PAD)
        shared: dict[str, Any] = {
            "letters": MappingProxyType(published_letters(known.letters, pieces)),
            "suffix": (pieces.get("</s>", END),),
            "pad": pad,
            "mask": sentinels[0],
        }
        if self.part == "encoder":
            shared["prefix"] = tuple(pieces.get(token, index) for token, index in known.prefix.items())
            return Spelling(**shared) if known.whole else SentinelSpelling(**shared, sentinels=sentinels)
        shared |= {"prefix": (), "start": pad}
        return WholeDecoderSpelling(**shared) if known.whole else HiddenDecoderSpelling(**shared, sentinels=sentinels)


def _head(module: Any) -> nn.Module:
    """Return the head as the module's own forward pass applies it."""
    head: nn.Module = module.lm_head
    return ScaledHead(head, module.config.d_model**-0.5) if module.config.scale_decoder_outputs else head


def _position_bias(attention: Any, state: Tensor) -> dict[str, Tensor]:
    """Return the bias that layer 1 adds to its attention scores and hands on, ``[1, head, token, token]``."""
    n_tokens = state.shape[1]
    return {"position_bias": attention.compute_bias(n_tokens, n_tokens, device=state.device)}


def _encoder_inputs(tokens: Tokens) -> dict[str, Any]:
    inputs = token_inputs(tokens)
    del inputs["use_cache"]  # an encoder has none
    return inputs


def _both_inputs(tokens: Tokens) -> dict[str, Any]:
    if tokens.source is None:
        raise InputError("a decoder reads what an objective hides, not whole proteins; use model.part=encoder")
    return {
        "input_ids": tokens.source.ids,
        "attention_mask": tokens.source.attended.long(),
        "decoder_input_ids": tokens.ids,
        "decoder_attention_mask": tokens.attended.long(),
        "use_cache": False,
    }
