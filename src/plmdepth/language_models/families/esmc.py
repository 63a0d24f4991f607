"""ESM-C: a pre-norm encoder with rotary positions and gated MLPs, trained on masked residues (ESM Team 2024).

What attention and MLP give is divided by ``sqrt(L / 36)`` before it is added to the stream.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor
from transformers import EsmcConfig, EsmcForMaskedLM, PreTrainedModel

from plmdepth.language_models.anatomy import Anatomy
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.spelling.spelling import Spelling, Tokens

VOCABULARY = (
    *("<cls>", "<pad>", "<eos>", "<unk>"),
    *"LAGVSERTIDPKQNFYMHWCXBUZO",
    *(".", "-", "|", "<mask>"),  # | separates chains
)
VOCABULARY_SIZE = 64  # the last rows of embedding and head are unused
SPELLING = Spelling(
    letters=MappingProxyType({token: index for index, token in enumerate(VOCABULARY) if token.isalpha()}),
    prefix=(VOCABULARY.index("<cls>"),),
    suffix=(VOCABULARY.index("<eos>"),),
    pad=VOCABULARY.index("<pad>"),
    mask=VOCABULARY.index("<mask>"),
)
_BLOCK = re.compile(r"transformer\.blocks\.(\d+)\.(.+)")
_IN_BLOCK = {
    "attn.layernorm_qkv.0": ("input_layernorm",),
    "attn.layernorm_qkv.1": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attn.q_ln": ("self_attn.q_norm",),
    "attn.k_ln": ("self_attn.k_norm",),
    "attn.out_proj": ("self_attn.o_proj",),
    "ffn.0": ("post_attention_layernorm",),
    "ffn.1": ("mlp.gate_proj", "mlp.up_proj"),
    "ffn.3": ("mlp.down_proj",),
}
_OUTSIDE = {
    "embed": ("esmc.embed_tokens",),
    "transformer.norm": ("esmc.norm",),
    "sequence_head.0": ("lm_head.dense",),
    "sequence_head.2": ("lm_head.layer_norm",),
    "sequence_head.3": ("lm_head.decoder",),
}


def gated_width(width: int) -> int:
    """Return the inner width of the gated MLP: 8/3 of the model's, rounded up to a multiple of 256."""
    return -(-width // 96) * 256


def without_tables(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a checkpoint without the frequencies of its rotary positions, which follow from its width."""
    return {name: tensor for name, tensor in state.items() if not name.endswith("rotary.inv_freq")}


@dataclass(frozen=True, kw_only=True)
class ESMC(LanguageModel):
    """An `EsmcForMaskedLM` of any size, one chain a protein."""

    architecture: ClassVar[type[PreTrainedModel]] = EsmcForMaskedLM

    @property
    def spelling(self) -> Spelling:
        """One token a residue between ``<cls>`` and ``<eos>``."""
        return SPELLING

    @property
    def token_ids(self) -> Mapping[str, int]:
        """The ids of all tokens."""
        return {token: index for index, token in enumerate(VOCABULARY)}

    def architecture_config(self) -> EsmcConfig:
        """Return the configuration of the published models at this size."""
        return EsmcConfig(
            vocab_size=VOCABULARY_SIZE,
            hidden_size=self.width,
            intermediate_size=gated_width(self.width),
            num_hidden_layers=self.n_layers,
            num_attention_heads=self.n_heads,
            max_position_embeddings=self.max_length + 2,
        )

    def anatomy(self, module: Any) -> Anatomy:
        """Return the parts of an `EsmcForMaskedLM`."""
        layers = module.esmc.layers
        return Anatomy(
            layers=list(layers),
            attention_outputs=[layer.self_attn.o_proj for layer in layers],
            mlp_outputs=[layer.mlp.down_proj for layer in layers],
            norm=module.esmc.norm,
            head=module.lm_head,
            wiring="sequential",
            causal=False,
            residual_scale=layers[0].scaling_factor,
            inputs=_inputs,
        )

    def converted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a ``.pth`` file of EvolutionaryScale's package under Hugging Face's names.

        There, one projection gives queries, keys and values, and one gives gate and input of the MLP: their rows are
        stacked in this order. Other names are left as they are.
        """
        result: dict[str, Tensor] = {}
        for name, tensor in without_tables(state).items():
            names = _new_names(name)
            parts = tensor.tensor_split(len(names)) if len(names) > 1 else (tensor,)
            result |= dict(zip(names, parts, strict=True))
        return result


def _inputs(tokens: Tokens) -> dict[str, Tensor]:
    return {"input_ids": tokens.ids, "attention_mask": tokens.attended.long()}


def _new_names(name: str) -> tuple[str, ...]:
    """Return the names of the tensors that one of EvolutionaryScale's becomes, in the order of their rows."""
    module, _, kind = name.rpartition(".")
    block = _BLOCK.fullmatch(module)
    parts = _IN_BLOCK.get(block[2]) if block else _OUTSIDE.get(module)
    if parts is None:
        return (name,)
    prefix = f"esmc.layers.{block[1]}." if block else ""
    return tuple(f"{prefix}{part}.{kind}" for part in parts)
