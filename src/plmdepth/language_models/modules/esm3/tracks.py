"""What ESM3 reads and predicts beside the sequence, track by track."""

from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor, nn

from plmdepth.language_models.modules.esm3.config import ESM3Config

STRUCTURE_CODES = 4096
STRUCTURE_MASK, STRUCTURE_END, STRUCTURE_START, STRUCTURE_PAD, STRUCTURE_BREAK = range(4096, 4101)
SECONDARY_STRUCTURES, ACCESSIBILITIES, FUNCTIONS, ANNOTATIONS = 11, 19, 260, 1478
FUNCTION_SLOTS = 8
_LIKE_SEQUENCE = {0: STRUCTURE_START, 1: STRUCTURE_PAD, 2: STRUCTURE_END, 31: STRUCTURE_BREAK}
"""Special tokens of the sequence track, and what the structure track holds there."""
_BINS = 16


@dataclass(frozen=True)
class Tracks:
    """What is known of a batch beside its sequences; None where nothing is.

    Attributes:
        structure: codes of the structure tokenizer, -1 or 4096 where unknown, ``[batch, token]``.
        secondary_structure: eight classes, 0 where unknown, ``[batch, token]``.
        accessibility: solvent accessibility in bins, 0 where unknown, ``[batch, token]``.
        function: hashed keywords, 0 where there are none, ``[batch, token, 8]``.
        annotations: any number of residue annotations, 0 for none, ``[batch, token, annotation]``.
        mean_confidence: the structure's mean pLDDT in [0, 1], ``[batch, token]``; 1 unless given.
        confidence: pLDDT of each residue in [0, 1], ``[batch, token]``; 0 unless given.
        coordinates: N, CA and C, further atoms are not read, ``[batch, token, atom, 3]``; not finite where unknown.
        chains: number of the chain, ``[batch, token]``; read with coordinates only.
    """

    structure: Tensor | None = None
    secondary_structure: Tensor | None = None
    accessibility: Tensor | None = None
    function: Tensor | None = None
    annotations: Tensor | None = None
    mean_confidence: Tensor | None = None
    confidence: Tensor | None = None
    coordinates: Tensor | None = None
    chains: Tensor | None = None

    def to(self, device: torch.device | str, **options: Any) -> Self:
        """Return the tracks on another device; with ``options`` of `Tensor.to`."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return type(self)(
            **{name: each if each is None else each.to(device, **options) for name, each in given.items()}
        )


NOTHING_KNOWN = Tracks()


class TrackEmbedding(nn.Module):
    """The sum of the embeddings of all tracks."""

    def __init__(self, config: ESM3Config) -> None:
        super().__init__()
        width = config.hidden_size
        self.sequence_embed = nn.Embedding(config.vocab_size, width)
        self.plddt_projection = nn.Linear(_BINS, width)
        self.structure_per_res_plddt_projection = nn.Linear(_BINS, width)
        self.structure_tokens_embed = nn.Embedding(STRUCTURE_BREAK + 1, width)
        self.ss8_embed = nn.Embedding(SECONDARY_STRUCTURES, width)
        self.sasa_embed = nn.Embedding(ACCESSIBILITIES, width)
        part = width // FUNCTION_SLOTS
        self.function_embed = nn.ModuleList(nn.Embedding(FUNCTIONS, part, padding_idx=0) for _ in range(FUNCTION_SLOTS))
        self.residue_embed = nn.EmbeddingBag(ANNOTATIONS, width, mode="sum", padding_idx=0)

    def forward(self, ids: Tensor, tracks: Tracks) -> Tensor:
        """Return ``h_0`` of sequences ``[batch, token]``, ``[batch, token, feature]``."""
        unknown = torch.zeros_like(ids)
        confidence = unknown if tracks.confidence is None else tracks.confidence
        mean_confidence = unknown + 1 if tracks.mean_confidence is None else tracks.mean_confidence
        state = self.sequence_embed(ids)
        state = state + self.plddt_projection(_bumps(mean_confidence).to(state.dtype))
        state = state + self.structure_per_res_plddt_projection(_bumps(confidence).to(state.dtype))
        state = state + self.structure_tokens_embed(structure_tokens(ids, tracks.structure))
        state = state + self.ss8_embed(_or(tracks.secondary_structure, unknown))
        state = state + self.sasa_embed(_or(tracks.accessibility, unknown))
        slots = _or(tracks.function, unknown[..., None].expand(-1, -1, FUNCTION_SLOTS)).unbind(-1)
        state = state + torch.cat([embed(slot) for embed, slot in zip(self.function_embed, slots, strict=True)], dim=-1)
        if tracks.annotations is None:
            return state
        return state + self.residue_embed(tracks.annotations.flatten(0, 1)).unflatten(0, ids.shape)


def structure_tokens(ids: Tensor, codes: Tensor | None) -> Tensor:
    """Return the structure track, ``[batch, token]``: special tokens are the sequence's, unknown codes are masked."""
    tokens = torch.full_like(ids, STRUCTURE_MASK) if codes is None else codes.masked_fill(codes == -1, STRUCTURE_MASK)
    for special, structure in _LIKE_SEQUENCE.items():
        tokens = tokens.masked_fill(ids == special, structure)
    return tokens


class OutputHeads(nn.Module):
    """One head a track: dense, GELU, LayerNorm, linear."""

    def __init__(self, config: ESM3Config) -> None:
        super().__init__()
        width = config.hidden_size
        self.sequence_head = _head(width, config.vocab_size)
        self.structure_head = _head(width, STRUCTURE_CODES)
        self.ss8_head = _head(width, SECONDARY_STRUCTURES)
        self.sasa_head = _head(width, ACCESSIBILITIES)
        self.function_head = _head(width, FUNCTION_SLOTS * FUNCTIONS)
        self.residue_head = _head(width, ANNOTATIONS)

    def forward(self, state: Tensor) -> dict[str, Tensor]:
        """Return the logits of every track for normalised states; of ``function``, ``[..., 8, 260]``."""
        return {
            "sequence": self.sequence_head(state),
            "structure": self.structure_head(state),
            "secondary_structure": self.ss8_head(state),
            "accessibility": self.sasa_head(state),
            "function": self.function_head(state).unflatten(-1, (FUNCTION_SLOTS, FUNCTIONS)),
            "annotations": self.residue_head(state),
        }


def _head(width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, outputs))


def _or(given: Tensor | None, default: Tensor) -> Tensor:
    return default if given is None else given


def _bumps(values: Tensor) -> Tensor:
    """Return ``exp(-((v - c) / width)^2)`` for 16 centres c from 0 to 1, ``[..., 16]``."""
    centres = torch.linspace(0, 1, _BINS, device=values.device)
    return torch.exp(-(((values.float()[..., None] - centres) * _BINS) ** 2))
