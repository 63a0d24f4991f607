"""Coordinates in which all directions of a state are of like size, so that translators are fitted in few steps.

The states of a protein language model lie far from the origin and vary a hundred times more in some directions than in
others. Plain gradient steps, Adam's too, then learn the large directions first and the others hardly at all.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from plmdepth.metrics.translators import Translators

_TINY = 1e-3


class WhitenedTranslators(nn.Module):
    """Translators ``h -> h + s (W' S (h - m) + b')``; ``W'`` and ``b'`` begin at zero and are what is fitted.

    Per layer, m is the mean state, s its root mean square, and ``S = (C + c)^(-1/2)`` with C the covariance and c its
    mean eigenvalue. Adding c whitens only the directions that vary more than the average: to whiten the others would
    also magnify their noise, and a wide model has more of them than a fit has targets.

    Args:
        n_layers: number of translators L.
        width: features of a state.
    """

    mean: Tensor
    whitening: Tensor
    scale: Tensor

    def __init__(self, n_layers: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_layers, width, width))
        self.bias = nn.Parameter(torch.zeros(n_layers, 1, width))
        self.register_buffer("mean", torch.zeros(n_layers, 1, width))
        self.register_buffer("whitening", torch.eye(width).repeat(n_layers, 1, 1))
        self.register_buffer("scale", torch.ones(n_layers, 1, 1))

    @torch.no_grad()
    def choose_coordinates(self, states: Iterable[Tensor]) -> None:
        """Set the coordinates from batches of states ``[layer, target, feature]``, layers 0..L-1."""
        count, total, squares = 0, torch.zeros_like(self.mean).double(), torch.zeros_like(self.whitening).double()
        for batch in states:
            known = batch.double()
            count += known.shape[1]
            total += known.sum(1, keepdim=True)
            squares += known.mT @ known
        if count == 0:
            return
        mean, second = total / count, squares / count
        size = second.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True).sqrt()
        scale = torch.where(size > 0, size, 1.0)  # ESM-2 embeds the mask token as zero
        variances, directions = torch.linalg.eigh(second - mean.mT @ mean)
        softened = variances.clamp(min=0) + variances.mean(-1, keepdim=True).clamp(min=0) + (_TINY * scale).square()
        self.mean.copy_(mean)
        self.whitening.copy_((directions * softened.rsqrt()[:, None]) @ directions.mT)
        self.scale.copy_(scale[..., None])

    def forward(self, states: Tensor) -> Tensor:
        """Return the translated states of layers 0..L-1, ``[layer, target, feature]``."""
        known = states.float()
        white = (known - self.mean) @ self.whitening
        return (known + self.scale * torch.baddbmm(self.bias, white, self.weight.mT)).to(states.dtype)

    @torch.no_grad()
    def folded(self) -> Translators:
        """Return the same maps in the coordinates of the model."""
        weight = self.scale.double() * self.weight.double() @ self.whitening.double()
        bias = self.scale.double() * self.bias.double() - self.mean.double() @ weight.mT
        return Translators(weight.float(), bias[:, 0].float())
