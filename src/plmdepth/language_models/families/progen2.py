"""ProGen2: an autoregressive model with parallel blocks and rotary positions (Nijkamp et al. 2023).

Its block is GPT-J's: attention and MLP read the same normalised state, and both are added to the stream. It was trained
on proteins in both directions, and its published likelihood of a protein is the mean over the two: one cell each.
"""

import string
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from torch import Tensor
from transformers import GPTJConfig, GPTJForCausalLM, PreTrainedModel

from plmdepth.errors import InputError
from plmdepth.language_models.anatomy import Anatomy
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.spelling.spelling import Spelling

Direction = Literal["forward", "reverse"]
VOCABULARY = ("<|pad|>", "<|bos|>", "<|eos|>", "1", "2", *string.ascii_uppercase.replace("J", ""))
SPELLING = Spelling(
    letters=MappingProxyType({token: index for index, token in enumerate(VOCABULARY) if token.isalpha()}),
    prefix=(VOCABULARY.index("1"),),
    suffix=(VOCABULARY.index("2"),),
    pad=VOCABULARY.index("<|pad|>"),
    mask=None,
)
REVERSED = replace(SPELLING, prefix=SPELLING.suffix, suffix=SPELLING.prefix, reverse=True)
_FUSED = "qkv_proj.weight"
_SHARDS = 8  # the published models were trained on this many devices, each with its own queries, values and keys
_BUFFERS = (".attn.bias", ".attn.masked_bias")  # the causal mask, which older files hold


def unfused(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weights of queries, keys and values.

    The rows of the published matrix are 8 shards, and each holds the queries, then the values, then the keys of an
    eighth of the heads, in their order.

    Args:
        weight: ``[3 feature, feature]``.

    Returns:
        Three matrices ``[feature, feature]``.
    """
    query, value, key = weight.unflatten(0, (_SHARDS, 3, -1)).transpose(0, 1).flatten(1, 2)
    return query, key, value


@dataclass(frozen=True, kw_only=True)
class ProGen2(LanguageModel):
    """A `GPTJForCausalLM` that spells proteins as ProGen2 does.

    Attributes:
        rotary_width: how many features of each head carry the rotary position.
        vocabulary_rows: rows of embedding and head; those from the 31st on are unused.
        direction: ``forward`` reads from the N terminus ``1`` to the C terminus ``2``, ``reverse`` from ``2`` to ``1``.
    """

    architecture: ClassVar[type[PreTrainedModel]] = GPTJForCausalLM
    rotary_width: int = 32
    vocabulary_rows: int = 32
    direction: Direction = "forward"

    @property
    def spelling(self) -> Spelling:
        """One token a residue between the terminus tokens ``1`` and ``2``, or in reverse between ``2`` and ``1``."""
        return SPELLING if self.direction == "forward" else REVERSED

    @property
    def token_ids(self) -> Mapping[str, int]:
        """The ids of all tokens."""
        return {token: index for index, token in enumerate(VOCABULARY)}

    def architecture_config(self) -> GPTJConfig:
        """Return the configuration of the published models at this size."""
        return GPTJConfig(
            vocab_size=self.vocabulary_rows,
            n_positions=self.max_length + 2,
            n_embd=self.width,
            n_layer=self.n_layers,
            n_head=self.n_heads,
            rotary_dim=min(self.rotary_width, self.width // self.n_heads),
            activation_function="gelu_new",
            layer_norm_epsilon=1e-5,
            attn_pdrop=0.0,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            bos_token_id=SPELLING.prefix[0],
            eos_token_id=SPELLING.suffix[0],
            pad_token_id=SPELLING.pad,
            tie_word_embeddings=False,
            use_cache=False,
        )

    def converted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the published checkpoint, whose queries, keys and values are one matrix, as GPT-J's.

        The files of the Hub and those of the first release hold the same tensors under the same names; the latter also
        hold the causal mask of every layer, which is dropped.
        """
        converted: dict[str, Tensor] = {}
        for name, tensor in state.items():
            if name.endswith(_FUSED):
                if tensor.dim() != 2 or len(tensor) != 3 * tensor.shape[1] or tensor.shape[1] % _SHARDS:
                    shape = list(tensor.shape)
                    raise InputError(
                        f"the weights do not fit {self.name}: {name} of shape {shape} is no ProGen2 matrix"
                    )
                stem = name.removesuffix(_FUSED)
                parts = zip(("q_proj", "k_proj", "v_proj"), unfused(tensor), strict=True)
                converted |= {f"{stem}{part}.weight": matrix for part, matrix in parts}
            elif not name.endswith(_BUFFERS):
                converted[name] = tensor
        return converted

    def anatomy(self, module: Any) -> Anatomy:
        """Return the parts of a `GPTJForCausalLM`."""
        blocks = module.transformer.h
        return Anatomy(
            layers=list(blocks),
            attention_outputs=[block.attn.out_proj for block in blocks],
            mlp_outputs=[block.mlp.fc_out for block in blocks],
            norm=module.transformer.ln_f,
            head=module.lm_head,
            wiring="parallel",
            causal=True,
            cache_argument="layer_past",
        )
