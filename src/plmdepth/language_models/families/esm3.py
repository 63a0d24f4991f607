"""ESM3: a masked model of sequence, structure and function (Hayes et al. 2024).

Its blocks are ESM-C's. The first one also attends by geometry, which adds exactly nothing without coordinates; with
them, what attention adds in layer 1 is the sum of both.

``model.modality=sequence`` gives it residues alone. ``both`` gives the backbone of all residues beside, of hidden ones
too, as in inverse folding from a partial sequence; ``structure`` gives the backbone and hides all residues. The targets
are the same residues with all three.

Of a structure the model is given N, CA and C, and a confidence of 1 for residues of which any of the three is known, as
the published ``logits`` does (there any atom of the residue counts). The other tracks keep their defaults. So the track
of structure codes is masked, as the published model's forward pass has it without codes. The published ``encode`` adds
them, from a tokenizer with weights of its own, which is not here: curves show what the model makes of coordinates
through layer 1, not of all that its authors' pipeline gives it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from transformers import PreTrainedModel

from plmdepth.language_models.anatomy import Anatomy
from plmdepth.language_models.families.esmc import SPELLING, VOCABULARY_SIZE, gated_width, without_tables
from plmdepth.language_models.language_model import LanguageModel, Modality
from plmdepth.language_models.modules.esm3.config import ESM3Config
from plmdepth.language_models.modules.esm3.module import ESM3Module
from plmdepth.language_models.modules.esm3.tracks import Tracks
from plmdepth.language_models.spelling.backbone import BackboneSpelling
from plmdepth.language_models.spelling.spelling import Spelling, Tokens


@dataclass(frozen=True, kw_only=True)
class ESM3(LanguageModel):
    """An `ESM3Module` of any size that reads residues, coordinates or both.

    Attributes:
        n_geometric_heads: heads of the geometric attention in layer 1.
    """

    architecture: ClassVar[type[PreTrainedModel]] = ESM3Module
    hub_file: ClassVar[str | None] = "data/weights/esm3_sm_open_v1.pth"
    modalities: ClassVar[tuple[Modality, ...]] = ("sequence", "structure", "both")
    n_geometric_heads: int = 256

    @property
    def spelling(self) -> Spelling:
        """One token a residue between ``<cls>`` and ``<eos>``, as ESM-C; with coordinates beside if they are read."""
        if self.modality == "sequence":
            return SPELLING
        return BackboneSpelling.of(SPELLING, shows_residues=self.modality == "both")

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
            second_attention_outputs=[blocks[0].geom_attn.out_proj],
        )

    def converted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the published checkpoint as it is: the module's parameters bear its names."""
        return without_tables(state)

    def resolved(self) -> Self:
        """Return the model that is really built, with few geometric heads in a miniature."""
        return replace(super().resolved(), n_geometric_heads=4) if self.miniature else self


def _inputs(tokens: Tokens) -> dict[str, Any]:
    # Padding is a sequence of its own: the model hides nothing by itself.
    inputs = {"input_ids": tokens.ids, "sequence_id": tokens.attended.long()}
    if tokens.coordinates is None:
        return inputs
    resolved = torch.isfinite(tokens.coordinates).all(-1).any(-1)
    return {**inputs, "tracks": Tracks(coordinates=tokens.coordinates, confidence=resolved.float())}
