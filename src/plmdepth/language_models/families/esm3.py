"""ESM3: a masked model of sequence, structure and function, here of the sequence alone (Hayes et al. 2024).

Its blocks are ESM-C's. The first one also attends by geometry, which adds exactly nothing without coordinates.

For ``model.modality=structure`` or ``both`` three things are missing: `Tokens` would carry the other tracks from the
dataset to `_inputs`, which hands them to the module as `Tracks`; structure codes would come from ESM3's own tokenizer,
a model of its own; and in layer 1, attention would be the sum of two modules where `Anatomy` names one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch import Tensor
from transformers import PreTrainedModel

from plmdepth.language_models.anatomy import Anatomy
from plmdepth.language_models.families.esmc import SPELLING, VOCABULARY_SIZE, gated_width, without_tables
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.modules.esm3.config import ESM3Config
from plmdepth.language_models.modules.esm3.module import ESM3Module
from plmdepth.language_models.spelling import Spelling, Tokens


@dataclass(frozen=True, kw_only=True)
class ESM3(LanguageModel):
    """An `ESM3Module` of any size that reads sequences.

    Attributes:
        n_geometric_heads: heads of the geometric attention in layer 1.
    """

    architecture: ClassVar[type[PreTrainedModel]] = ESM3Module
    hub_file: ClassVar[str | None] = "data/weights/esm3_sm_open_v1.pth"
    n_geometric_heads: int = 256

    @property
    def spelling(self) -> Spelling:
        """One token a residue between ``<cls>`` and ``<eos>``, as ESM-C."""
        return SPELLING

    def architecture_config(self) -> ESM3Config:
        """Return the configuration of the published model at this size."""
        return ESM3Config(
            vocab_size=VOCABULARY_SIZE,
            hidden_size=self.width,
            intermediate_size=gated_width(self.width),
            num_hidden_layers=self.n_layers,
            num_attention_heads=self.n_heads,
            num_geometric_heads=self.n_geometric_heads,
            pad_token_id=SPELLING.pad,
        )

    def anatomy(self, module: Any) -> Anatomy:
        """Return the parts of an `ESM3Module`."""
        blocks = module.transformer.blocks
        return Anatomy(
            layers=list(blocks),
            attention_outputs=[block.attn.out_proj for block in blocks],
            mlp_outputs=[block.ffn[-1] for block in blocks],
            norm=module.transformer.norm,
            head=module.output_heads.sequence_head,
            wiring="sequential",
            causal=False,
            residual_scale=blocks[0].scaling_factor,
            inputs=_inputs,
        )

    def converted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the published checkpoint as it is: the module's parameters bear its names."""
        return without_tables(state)

    def resolved(self) -> Self:
        """Return the model that is really built, with few geometric heads in a miniature."""
        return replace(super().resolved(), n_geometric_heads=4) if self.miniature else self


def _inputs(tokens: Tokens) -> dict[str, Tensor]:
    # Padding is a sequence of its own: the model hides nothing by itself.
    return {"input_ids": tokens.ids, "sequence_id": tokens.attended.long()}
