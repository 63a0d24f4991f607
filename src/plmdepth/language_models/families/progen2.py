"""ProGen2: an autoregressive model with parallel blocks and rotary positions (Nijkamp et al. 2023).

Its block is GPT-J's: attention and MLP read the same normalised state, and both are added to the stream.
"""

import string
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from transformers import GPTJConfig, GPTJForCausalLM, PreTrainedModel

from plmdepth.language_models.anatomy import Anatomy
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.spelling import Spelling

VOCABULARY = ("<|pad|>", "<|bos|>", "<|eos|>", "1", "2", *string.ascii_uppercase.replace("J", ""))
VOCABULARY_SIZE = 32  # two rows of the embedding are unused
SPELLING = Spelling(
    letters=MappingProxyType({token: index for index, token in enumerate(VOCABULARY) if token.isalpha()}),
    prefix=(VOCABULARY.index("1"),),
    suffix=(VOCABULARY.index("2"),),
    pad=VOCABULARY.index("<|pad|>"),
    mask=None,
)


@dataclass(frozen=True, kw_only=True)
class ProGen2(LanguageModel):
    """A `GPTJForCausalLM` that spells proteins as ProGen2 does, from the N terminus ``1`` to the C terminus ``2``.

    Attributes:
        rotary_width: how many features of each head carry the rotary position.
    """

    architecture: ClassVar[type[PreTrainedModel]] = GPTJForCausalLM
    rotary_width: int = 32

    @property
    def spelling(self) -> Spelling:
        """One token a residue between the terminus tokens ``1`` and ``2``."""
        return SPELLING

    def architecture_config(self) -> GPTJConfig:
        """Return the configuration of this size."""
        return GPTJConfig(
            vocab_size=VOCABULARY_SIZE,
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
