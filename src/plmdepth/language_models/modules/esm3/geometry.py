"""Geometric attention: residues attend by the directions and distances of vectors in their backbone frames.

Head by head, residue i scores residue j with ``(w_r <q_i, k_j> - w_d |p_i - p_j|) / sqrt(3)``, all vectors turned, and
the points p also moved, from the residue's own frame into that of the protein. Values are turned there and back.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from plmdepth.language_models.modules.esm3.config import ESM3Config

_FARTHEST = 1e6
"""A coordinate from here on, in Angstrom, counts as unknown."""
_SMALL = 1e-10


class Geometry(NamedTuple):
    """The backbone frames of a batch, in float32.

    Attributes:
        rotation: of each residue's frame, axes in columns; all zero where N, CA or C is unknown, so that nothing can
            come out, ``[batch, token, 3, 3]``.
        origin: the CA atom, ``[batch, token, 3]``.
        bias: what is added to the scores, ``[batch, 1, token, token]``.
    """

    rotation: Tensor
    origin: Tensor
    bias: Tensor


def geometry_of(coordinates: Tensor, sequence_id: Tensor | None, chains: Tensor) -> Geometry:
    """Return the frames of a batch, and who may attend to whom.

    A residue sees those of known position in its chain. Tokens of another ``sequence_id``, padding say, are not hidden:
    the score of the others is raised by 1. So it is in the published model.

    Args:
        coordinates: N, CA, C and any further atoms, ``[batch, token, atom, 3]``; not finite where unknown.
        sequence_id: tokens of one number belong together, ``[batch, token]``; None puts all together.
        chains: number of the chain, ``[batch, token]``.
    """
    backbone = coordinates[..., :3, :].float()
    known = (torch.isfinite(backbone) & (backbone < _FARTHEST)).flatten(-2).all(-1)
    rotation, origin = _frames(backbone.masked_fill(~known[..., None, None], 0.0))
    together = torch.ones_like(chains) if sequence_id is None else sequence_id
    hidden = ~known[:, None, :] | (chains[:, :, None] != chains[:, None, :])
    bias = (together[:, :, None] == together[:, None, :]).float().masked_fill(hidden, torch.finfo(torch.float32).min)
    return Geometry(rotation, origin, bias[:, None])


def _frames(backbone: Tensor) -> tuple[Tensor, Tensor]:
    """Return rotations and origins by Gram and Schmidt: the first axis from C to CA, N in the plane of the second."""
    nitrogen, alpha, carbon = backbone.unbind(-2)
    first = _unit(alpha - carbon)
    towards = nitrogen - alpha
    second = _unit(towards - (towards * first).sum(-1, keepdim=True) * first)
    third = torch.linalg.cross(first, second)
    return torch.stack([first, second, third], dim=-1), alpha


def _unit(vector: Tensor) -> Tensor:
    return vector / (vector.square().sum(-1, keepdim=True) + _SMALL).sqrt()


class GeometricAttention(nn.Module):
    """Attention by geometry alone; residues without coordinates give and get nothing."""

    def __init__(self, config: ESM3Config) -> None:
        super().__init__()
        width, heads = config.hidden_size, config.num_geometric_heads
        self.s_norm = nn.LayerNorm(width, bias=False)
        self.proj = nn.Linear(width, 5 * heads * 3, bias=False)
        self.out_proj = nn.Linear(heads * 3, width, bias=False)
        self.distance_scale_per_head = nn.Parameter(torch.zeros(heads))
        self.rotation_scale_per_head = nn.Parameter(torch.zeros(heads))

    def forward(self, state: Tensor, geometry: Geometry) -> Tensor:
        """Return what the stream gains, before any residual scale, ``[batch, token, feature]``."""
        vectors = self.proj(self.s_norm(state)).float().unflatten(-1, (-1, 3))
        to_global = geometry.rotation.transpose(-1, -2)  # vectors are rows
        turned = (vectors @ to_global).transpose(1, 2)  # [batch, vector, token, 3]
        query, key, value, start, end = turned.chunk(5, dim=1)
        origin = geometry.origin[:, None]
        scores = self._scores(query, key, start + origin, end + origin) + geometry.bias
        mixed = (scores.softmax(-1) @ value).transpose(1, 2) @ geometry.rotation
        return self.out_proj(mixed.flatten(-2).to(state.dtype))

    def _scores(self, query: Tensor, key: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """Return the scores of every head, ``[batch, head, token, token]``."""
        directions = query @ key.transpose(-1, -2)
        distances = torch.cdist(start, end, compute_mode="donot_use_mm_for_euclid_dist")
        by_direction, by_distance = (
            softplus(scale.float())[:, None, None] / math.sqrt(3)
            for scale in (self.rotation_scale_per_head, self.distance_scale_per_head)
        )
        return by_direction * directions - by_distance * distances
