"""One head a layer, side by side: each reads its own layer and learns alone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from plmdepth.errors import InputError
from plmdepth.probes.layerwise.features import mean_state
from plmdepth.probes.layerwise.pooling import AttentionPooling, ProteinStates, proteins_of

MakeHead = Callable[[int, int], nn.Module]
"""From features and classes to a head: features ``[row, feature]`` to logits ``[row, class]``."""
Pool = Callable[[Tensor, Tensor], Tensor]

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
    """Heads of some layers.

    Args:
        make: makes one head.
        n_heads: how many there are.
        width: features.
        n_classes: classes.
        numbers: the layer of each head, rising; None for 0, 1, ..., which are all layers where there are L + 1 heads.
        pool: from states ``[protein, token, feature]`` and the residue mask ``[protein, token]`` to what a head reads.
        absent: numbers of the classes that were never true in training, and so are never predicted.
    """

    absent: Tensor

    def __init__(
        self,
        make: MakeHead,
        n_heads: int,
        width: int,
        n_classes: int,
        numbers: Sequence[int] | None = None,
        pool: Pool = mean_state,
        absent: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.register_buffer("absent", torch.tensor(absent, dtype=torch.long), persistent=False)
        self.layers = nn.ModuleList([make(width, n_classes) for _ in range(n_heads)])
        self.numbers = tuple(range(n_heads) if numbers is None else numbers)
        self._pool = pool

    def forward(self, features: Any) -> Tensor:
        """Return logits ``[row, layer, class]`` of features ``[row, layer, feature]``, as they are trained."""
        return torch.stack([head(features[:, place]) for place, head in enumerate(self.layers)], dim=1)

    def predict(self, features: Any) -> Tensor:
        """Return the logits of `forward` with minus infinity for classes that were never true in training."""
        return self(features).index_fill(-1, self.absent, -torch.inf)

    def of_layer(self, layer: int) -> nn.Module:
        """Return the head of a layer."""
        return self.layers[self.numbers.index(layer)]

    def read(self, layer: int, features: Tensor) -> Tensor:
        """Return logits ``[row, class]`` of one layer's features ``[row, feature]``, pooled already, as `predict`."""
        logits: Tensor = self.of_layer(layer)(features)
        return logits.index_fill(-1, self.absent, -torch.inf)

    def pool(self, layer: int, states: Tensor, residues: Tensor) -> Tensor:  # noqa: ARG002 (attention pools by layer)
        """Return what the head of a layer reads, ``[row, feature]``: a row a protein, or a residue.

        Args:
            layer: its number.
            states: ``h_l``, ``[protein, token, feature]``.
            residues: which tokens are residues, ``[protein, token]`` boolean.
        """
        return self._pool(states, residues)

    def read_states(self, layer: int, states: Tensor, residues: Tensor) -> Tensor:
        """Return logits ``[row, class]`` of states; arguments and rows are those of `pool`."""
        return self.read(layer, self.pool(layer, states, residues))

    def state_of(self, place: int) -> dict[str, Tensor]:
        """Return a copy of the tensors of one head, counted from 0 among those that there are."""
        return {name: tensor.detach().clone() for name, tensor in self.layers[place].state_dict().items()}


class AttentionHeads(LayerHeads):
    """Heads of some layers, each behind an attention pooling of its own.

    Args:
        make: makes one head.
        n_heads: how many there are.
        width: features.
        n_classes: classes.
        numbers: as in `LayerHeads`.
        absent: as in `LayerHeads`.
    """

    def __init__(
        self,
        make: MakeHead,
        n_heads: int,
        width: int,
        n_classes: int,
        numbers: Sequence[int] | None = None,
        absent: Sequence[int] = (),
    ) -> None:
        pooled = lambda *sizes: _PooledHead(make(*sizes), width)  # noqa: E731
        super().__init__(pooled, n_heads, width, n_classes, numbers, absent=absent)

    def forward(self, features: ProteinStates) -> Tensor:
        """Return logits ``[protein, layer, class]`` of the residues of proteins."""
        heads: Any = self.layers
        pooled = [head.pooling(features.of_layer(place)) for place, head in enumerate(heads)]
        return super().forward(torch.stack(pooled, dim=1))

    def pool(self, layer: int, states: Tensor, residues: Tensor) -> Tensor:
        """Return the proteins as the query of a layer weighs their residues, ``[protein, feature]``."""
        head: Any = self.of_layer(layer)
        pooled: Tensor = head.pooling(proteins_of(states, residues))
        return pooled


class _PooledHead(nn.Module):
    """A head and the pooling that is learnt with it."""

    def __init__(self, head: nn.Module, width: int) -> None:
        super().__init__()
        self.pooling = AttentionPooling(width)
        self.head = head

    def forward(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self.head(pooled)
        return logits


def residue_rows(states: Tensor, residues: Tensor) -> Tensor:
    """Return residues as they are, ``[residue, feature]``, in the order of their tokens: nothing is pooled."""
    return states[residues].float()


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
