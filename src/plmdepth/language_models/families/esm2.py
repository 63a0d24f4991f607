"""ESM-2: a pre-norm encoder with rotary positions, trained on masked residues (Lin et al. 2023).

The architecture is shared by models of other tokens or positions, and by those trained with discrete diffusion.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor
from transformers import EsmConfig, EsmForMaskedLM, PreTrainedModel

from plmdepth.language_models.anatomy import Anatomy
from plmdepth.language_models.checkpoints.fair_esm import from_fair_esm
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.spelling.spelling import Spelling

VOCABULARY = (
    *("<cls>", "<pad>", "<eos>", "<unk>"),
    *"LAGVSERTIDPKQNFYMHWCXBUZO",
    *(".", "-", "<null_1>", "<mask>"),
)
SPELLING = Spelling(
    letters=MappingProxyType({token: index for index, token in enumerate(VOCABULARY) if token.isalpha()}),
    prefix=(VOCABULARY.index("<cls>"),),
    suffix=(VOCABULARY.index("<eos>"),),
    pad=VOCABULARY.index("<pad>"),
    mask=VOCABULARY.index("<mask>"),
)


@dataclass(frozen=True, kw_only=True)
class ESM2(LanguageModel):
    """An `EsmForMaskedLM` of any size.

    Attributes:
        token_dropout: ESM's treatment of mask tokens: their embeddings are zero and all others are rescaled by
            ``0.88 / (1 - fraction masked)``. Part of how the model was trained.
        initializer_range: standard deviation of random weights. The published value suits widths of hundreds; a narrow
            model starts with nearly uniform attention at it, and learns distant couplings slowly.
    """

    architecture: ClassVar[type[PreTrainedModel]] = EsmForMaskedLM
    # ESM-1b, ESM-1v, SaProt and DPLM come in the same sizes; DPLM's configuration alone has a dplm_type.
    distinguishing: ClassVar[tuple[str, ...]] = (
        "position_embedding_type",
        "emb_layer_norm_before",
        "token_dropout",
        "mask_token_id",
        "dplm_type",
    )
    token_dropout: bool = True
    initializer_range: float = 0.02

    @property
    def spelling(self) -> Spelling:
        """One token a residue between ``<cls>`` and ``<eos>``."""
        return SPELLING

    @property
    def token_ids(self) -> Mapping[str, int]:
        """The ids of all tokens."""
        return {token: index for index, token in enumerate(VOCABULARY)}

    def architecture_config(self) -> EsmConfig:
        """Return the configuration of the published models at this size."""
        return EsmConfig(
            vocab_size=len(VOCABULARY),
            mask_token_id=SPELLING.mask,
            pad_token_id=SPELLING.pad,
            hidden_size=self.width,
            num_hidden_layers=self.n_layers,
            num_attention_heads=self.n_heads,
            intermediate_size=4 * self.width,
            position_embedding_type="rotary",
            max_position_embeddings=self.max_length + 4,
            layer_norm_eps=1e-5,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            emb_layer_norm_before=False,
            token_dropout=self.token_dropout,
            initializer_range=self.initializer_range,
            tie_word_embeddings=True,
        )

    def anatomy(self, module: Any) -> Anatomy:
        """Return the parts of an `EsmForMaskedLM`."""
        encoder = module.esm.encoder
        return Anatomy(
            layers=list(encoder.layer),
            attention_outputs=[layer.attention.output.dense for layer in encoder.layer],
            mlp_outputs=[layer.output.dense for layer in encoder.layer],
            norm=encoder.emb_layer_norm_after,
            head=module.lm_head,
            wiring="sequential",
            causal=False,
        )

    def converted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return one of fair-esm's checkpoints under the names of an `EsmForMaskedLM`."""
        return from_fair_esm(state)
