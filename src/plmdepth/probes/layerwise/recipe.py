"""``probe=linear | mlp | residue_mlp``: what heads look like and how they are trained."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from plmdepth.cells.cell import Cell
from plmdepth.cells.context import RunContext
from plmdepth.errors import InputError
from plmdepth.probes.layerwise.features import Pooling
from plmdepth.probes.layerwise.heads import linear_head, mlp_head


@dataclass(frozen=True, kw_only=True)
class HeadRecipe(ABC):
    """How one head a layer is trained with Adam.

    Attributes:
        pooling: how a protein becomes one vector; of no account where every residue has a label.
            ``attention`` is learnt with the head of each layer.
        layers: which layers have heads; None for all. The model is run no further than the last of them.
        epochs: most passes over the training proteins.
        batch_size: proteins a step.
        learning_rate: at the start.
        weight_decay: of Adam.
        factor: what a layer's learning rate is multiplied by when its validation loss has not fallen for
            ``patience`` passes.
        patience: passes.
        stop_after: a layer's head is kept as it was at its lowest validation loss, and no longer looked at when the
            loss has not fallen for so many passes; training ends when this holds for all layers.
        cache: whether features are kept on disk; without it the model runs in every pass, for the same numbers.
        cache_dtype: precision of features, whether they are kept or not.
        cache_gigabytes: most that they may take. Features of residues that take more are not kept; a task that reads
            one vector a protein is refused.
        n_replicates: bootstrap replicates of the scores.
    """

    name: ClassVar[str]
    residues_only: ClassVar[bool] = False
    """Whether the settings are for labels of residues alone; without it any task is read."""
    to_convergence: ClassVar[bool] = False
    """Whether heads whose features are fixed are fitted to convergence; others are trained for ``epochs``."""
    pooling: Pooling = "mean"
    layers: Sequence[int] | None = None
    epochs: int = 50
    batch_size: int = 8
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    factor: float = 0.6
    patience: int = 5
    stop_after: int = 50
    cache: bool = True
    cache_dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    cache_gigabytes: float = 50.0
    n_replicates: int = 200

    def __post_init__(self) -> None:
        for option in ("epochs", "batch_size", "patience", "stop_after"):
            if getattr(self, option) < 1:
                raise InputError(f"probe.{option} must be at least 1, got {getattr(self, option)}")
        for option in ("learning_rate", "factor", "cache_gigabytes"):
            if not getattr(self, option) > 0:
                raise InputError(f"probe.{option} must be above 0, got {getattr(self, option)}")
        if self.n_replicates < 2:
            raise InputError(f"probe.n_replicates={self.n_replicates}: an interval needs 2 or more")
        if self.layers is not None and not self.layers:
            raise InputError("probe.layers=[] names no layer; name some, [0,6,12], or null for all")

    def chosen(self, n_layers: int) -> tuple[int, ...]:
        """Return the layers that have heads, rising.

        Args:
            n_layers: L, of the model.

        Raises:
            InputError: the model has no such layer.
        """
        layers = range(n_layers + 1) if self.layers is None else sorted({*self.layers})
        if not 0 <= layers[0] <= layers[-1] <= n_layers:
            wrong = next(layer for layer in layers if not 0 <= layer <= n_layers)
            raise InputError(f"probe.layers: there is no layer {wrong}; choose among 0 (the embedding) to {n_layers}")
        return tuple(layers)

    def cell(self, run: RunContext) -> Cell:
        """Return the cell that trains the heads.

        Raises:
            InputError: something in the configuration is wrong.
        """
        from plmdepth.probes.layerwise.cell import ProbeCell  # noqa: PLC0415 (a cell knows its recipe)

        return ProbeCell.of(run)

    @abstractmethod
    def head(self, width: int, n_classes: int) -> nn.Module:
        """Return one untrained head."""


@dataclass(frozen=True, kw_only=True)
class LinearRecipe(HeadRecipe):
    """A linear map: what can be read off a layer as it is.

    It is fitted to convergence, with a penalty that validation chooses. With ``pooling=attention`` it is trained
    instead, together with the pooling; the options of training count there alone.
    """

    name: ClassVar[str] = "linear"
    to_convergence: ClassVar[bool] = True
    batch_size: int = 64
    learning_rate: float = 1e-3

    def head(self, width: int, n_classes: int) -> nn.Module:
        """Return one untrained head."""
        return linear_head(width, n_classes)


@dataclass(frozen=True, kw_only=True)
class ResidueLinearRecipe(LinearRecipe):
    """The same with settings for labels of residues."""

    name: ClassVar[str] = "residue_linear"
    residues_only: ClassVar[bool] = True
    epochs: int = 10
    batch_size: int = 16


@dataclass(frozen=True, kw_only=True)
class MLPRecipe(HeadRecipe):
    """The head of Hart et al. 2025 with its optimiser settings by default.

    Attributes:
        hidden: units of the hidden layer; None for as many as features.
        dropout: share of features dropped in training.
        batch_norm: whether norms stand before the hidden layer and after it.
    """

    name: ClassVar[str] = "mlp"
    hidden: int | None = None
    dropout: float = 0.2
    batch_norm: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.dropout < 1:
            raise InputError(f"probe.dropout={self.dropout}: a share from 0 to below 1")
        if self.hidden is not None and self.hidden < 1:
            raise InputError(f"probe.hidden={self.hidden}: give 1 unit or more; null for as many as features")

    def head(self, width: int, n_classes: int) -> nn.Module:
        """Return one untrained head."""
        return mlp_head(width, n_classes, self.hidden, self.dropout, self.batch_norm)


@dataclass(frozen=True, kw_only=True)
class ResidueMLPRecipe(MLPRecipe):
    """The same with Hart et al.'s settings for labels of residues (secondary structure): no norm and no dropout."""

    name: ClassVar[str] = "residue_mlp"
    residues_only: ClassVar[bool] = True
    epochs: int = 100
    batch_size: int = 4
    learning_rate: float = 2e-4
    dropout: float = 0.0
    batch_norm: bool = False
