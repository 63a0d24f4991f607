"""The blocks of ESM3: attention with rotary positions, geometric attention in the first one, a gated MLP."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from plmdepth.language_models.modules.esm3.config import ESM3Config
from plmdepth.language_models.modules.esm3.geometry import GeometricAttention, Geometry

_REFERENCE_DEPTH = 36
_ROTARY_BASE = 10_000.0

Rotary = tuple[Tensor, Tensor]
"""Cosine and sine of every position and feature, each ``[1, token, feature of a head]``."""


def rotary_tables(length: int, features: int, like: Tensor) -> Rotary:
    """Return the tables of rotary positions 0..length-1, computed in float32, in the precision of ``like``."""
    exponents = torch.arange(0, features, 2, dtype=torch.float32, device=like.device) / features
    positions = torch.arange(length, dtype=torch.float32, device=like.device)
    angles = torch.outer(positions, 1 / _ROTARY_BASE**exponents).repeat(1, 2)[None]
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def rotated(heads: Tensor, rotary: Rotary) -> Tensor:
    """Turn features d and d + half by the angle of their position; ``[batch, head, token, feature]``."""
    cosine, sine = rotary
    low, high = heads.chunk(2, dim=-1)
    return heads * cosine + torch.cat([-high, low], dim=-1) * sine


def eager_attention(
    module: nn.Module,  # noqa: ARG001 (the interface of transformers)
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Return ``softmax(q k' scaling + mask) v``, ``[batch, token, head, feature]``, and the weights."""
    scores = query @ key.transpose(-1, -2) * scaling
    weights = (scores if attention_mask is None else scores + attention_mask).softmax(-1)
    return (weights @ value).transpose(1, 2), weights


class Attention(nn.Module):
    """Attention whose queries and keys are normalised over all heads together, before positions turn them."""

    is_causal = False

    def __init__(self, config: ESM3Config) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.head_width = width // config.num_attention_heads
        self.layernorm_qkv = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3 * width, bias=False))
        self.q_ln = nn.LayerNorm(width, bias=False)
        self.k_ln = nn.LayerNorm(width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)

    def forward(self, state: Tensor, attention_mask: Tensor | None, rotary: Rotary) -> Tensor:
        """Return what the stream gains, before any residual scale, ``[batch, token, feature]``."""
        query, key, value = self.layernorm_qkv(state).chunk(3, dim=-1)
        query, key, value = (
            each.unflatten(-1, (-1, self.head_width)).transpose(1, 2)
            for each in (self.q_ln(query), self.k_ln(key), value)
        )
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        query, key = rotated(query, rotary), rotated(key, rotary)
        mixed, _ = attend(self, query, key, value, attention_mask, scaling=self.head_width**-0.5, dropout=0.0)
        return self.out_proj(mixed.flatten(2))


class Gate(nn.Module):
    """``silu(g) * x`` for features ``[g, x]``."""

    def forward(self, features: Tensor) -> Tensor:
        """Return half as many features."""
        gate, value = features.chunk(2, dim=-1)
        return silu(gate) * value


class Block(nn.Module):
    """``h += attention / s; h += geometric attention / s; h += MLP / s`` with ``s = sqrt(L / 36)``.

    Args:
        config: the dimensions.
        is_geometric: the block has geometric attention too.
    """

    def __init__(self, config: ESM3Config, is_geometric: bool) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.attn = Attention(config)
        self.geom_attn = GeometricAttention(config) if is_geometric else None
        self.ffn = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * inner, bias=False),
            Gate(),
            nn.Linear(inner, width, bias=False),
        )
        self.scaling_factor = math.sqrt(config.num_hidden_layers / _REFERENCE_DEPTH)

    def forward(
        self, state: Tensor, attention_mask: Tensor | None, rotary: Rotary, geometry: Geometry | None = None
    ) -> Tensor:
        """Return ``h_l`` for ``h_{l-1}``, ``[batch, token, feature]``; without geometry its attention adds nothing."""
        state = state + self.attn(state, attention_mask, rotary) / self.scaling_factor
        if self.geom_attn is not None and geometry is not None:
            state = state + self.geom_attn(state, geometry) / self.scaling_factor
        return state + self.ffn(state) / self.scaling_factor
