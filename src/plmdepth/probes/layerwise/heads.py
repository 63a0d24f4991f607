"""One head a layer, side by side: each reads its own layer and learns alone."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from plmdepth.errors import InputError

MakeHead = Callable[[int, int], nn.Module]
"""From features and classes to a head: features ``[row, feature]`` to logits ``[row, class]``."""

LEAKY_SLOPE = 0.2
BATCH_NORM_MOMENTUM = 0.2


def linear_head(width: int, n_classes: int) -> nn.Module:
    """Return a linear head on normalised features: a batch norm without parameters, then one linear map."""
    return nn.Sequential(nn.BatchNorm1d(width, affine=False), nn.Linear(width, n_classes))


def mlp_head(width: int, n_classes: int, hidden: int | None, dropout: float, batch_norm: bool) -> nn.Module:
    """Return the two-layer head of Hart et al. 2025 (appendix and published code).

    Norm, leaky ReLU, dropout, linear map to ``hidden``, norm, leaky ReLU, linear map to the classes.

    Args:
        width: features.
        n_classes: classes.
        hidden: units of the hidden layer; None for as many as features.
        dropout: share of features dropped in training.
        batch_norm: whether the two norms are there.
    """
    hidden = hidden or width
    before: list[nn.Module] = [nn.BatchNorm1d(width, momentum=BATCH_NORM_MOMENTUM)] if batch_norm else []
    between: list[nn.Module] = [nn.BatchNorm1d(hidden, momentum=BATCH_NORM_MOMENTUM)] if batch_norm else []
    return nn.Sequential(
        *before,
        nn.LeakyReLU(LEAKY_SLOPE),
        nn.Dropout(dropout),
        nn.Linear(width, hidden),
        *between,
        nn.LeakyReLU(LEAKY_SLOPE),
        nn.Linear(hidden, n_classes),
    )


class LayerHeads(nn.Module):
    """Heads of layers 0..L.

    Args:
        make: makes one head.
        n_heads: L + 1.
        width: features.
        n_classes: classes.
    """

    def __init__(self, make: MakeHead, n_heads: int, width: int, n_classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([make(width, n_classes) for _ in range(n_heads)])

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``[row, layer, class]`` of features ``[row, layer, feature]``."""
        return torch.stack([head(features[:, layer]) for layer, head in enumerate(self.layers)], dim=1)

    def read(self, layer: int, features: Tensor) -> Tensor:
        """Return logits ``[row, class]`` of one layer's features ``[row, feature]``."""
        logits: Tensor = self.layers[layer](features)
        return logits

    def state_of(self, layer: int) -> dict[str, Tensor]:
        """Return a copy of one head's tensors."""
        return {name: tensor.detach().clone() for name, tensor in self.layers[layer].state_dict().items()}


def write_heads(heads: LayerHeads, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the heads alone, never the language model."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in heads.state_dict().items()}
    save_file(tensors, path, metadata=dict(metadata))


def read_heads(heads: LayerHeads, path: Path) -> LayerHeads:
    """Fill heads from a file.

    Raises:
        InputError: the file does not fit.
    """
    try:
        heads.load_state_dict(load_file(path))
    except (RuntimeError, OSError, ValueError) as error:
        raise InputError(f"the heads in {path} do not fit this probe; train it again with force=true") from error
    return heads.eval()
