"""ESM-1b and ESM-1v: pre-norm encoders with learned absolute positions (Rives et al. 2021; Meier et al. 2021).

Blocks, tokens and head are those of ESM-2; positions are added to the embeddings instead of turning queries and keys.
ESM-1v is an ensemble of five models that differ in their seed alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from transformers import EsmConfig

from plmdepth.errors import InputError
from plmdepth.language_models.checkpoints.fair_esm import without_mask_word
from plmdepth.language_models.families.esm2 import ESM2, SPELLING

LONGEST = 1022
_UNUSED_POSITIONS = 2  # counting starts after the id of the padding token, 1


@dataclass(frozen=True, kw_only=True)
class ESM1(ESM2):
    """An `EsmForMaskedLM` with absolute positions, which end after 1022 residues.

    Attributes:
        embedding_norm: a norm follows the embeddings: in ESM-1b, not in ESM-1v.
    """

    embedding_norm: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length > LONGEST:
            raise InputError(
                f"model.max_length={self.max_length}: the positions of {self.name} end at {LONGEST} residues"
            )

    def architecture_config(self) -> EsmConfig:
        """Return the configuration of the published models at this size."""
        config = super().architecture_config()
        config.position_embedding_type = "absolute"
        config.max_position_embeddings = LONGEST + len(SPELLING.prefix + SPELLING.suffix) + _UNUSED_POSITIONS
        config.emb_layer_norm_before = self.embedding_norm
        return config

    def converted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return one of fair-esm's checkpoints under the names of an `EsmForMaskedLM`."""
        assert SPELLING.mask is not None
        return super().converted(without_mask_word(state, SPELLING.mask))
