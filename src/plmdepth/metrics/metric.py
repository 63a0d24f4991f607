"""What a measurement is to the rest of the house.

A metric is a pure function from a batch to one value per sequence, quantity and layer. `CurveAccumulator` averages
those values over the data; nothing in a metric knows of files, plots or tracking.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self

import torch
from torch import Tensor
from torchmetrics import Metric as AccumulatingMetric

from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack, Observer
from plmdepth.metrics.quantity import Quantity
from plmdepth.objectives.objective import Example

Curves = Mapping[tuple[str, str], Tensor]
"""(name, component) to a curve ``[..., layer]`` over layers 0..L, or a matrix ``[..., layer, layer]`` over 1..L."""

Reduction = Literal["mean", "max"]
"""How values of sequences become one value of the data set."""

N_GROUPS = 10
"""Disjoint subsets of the inputs, whose spread some statistics report (Hart et al. 2025)."""


class Values(NamedTuple):
    """What a metric measured on a batch, in double precision, NaN where undefined.

    Attributes:
        curves: ``[sequence, quantity, layer]``, layers 0..L.
        matrices: ``[sequence, matrix, layer intervened on, layer measured]``, both 1..L; None if it has no matrices.
    """

    curves: Tensor
    matrices: Tensor | None = None


class Statistics(AccumulatingMetric, ABC):
    """Numbers of the data set that do not follow from mean curves."""

    @abstractmethod
    def update(self, curves: Tensor, groups: Tensor) -> None:
        """Add sequences: their curves ``[sequence, quantity, layer]``, and which of `N_GROUPS` subsets each is in."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Return scalars."""

    @abstractmethod
    def tables(self) -> dict[str, Tensor]:
        """Return what is kept beside the matrices of the record, by ``<quantity>/<component>``."""


class Metric(ABC):
    """A measurement of a stack on batches."""

    name: ClassVar[str]
    """Under which its quantities are recorded."""

    title: ClassVar[str] = ""
    """What its figure says on top; empty: its name."""

    needs_head: ClassVar[bool] = True
    """Whether it reads predictions, so that a model without a head cannot be measured."""

    reads_backbones: ClassVar[bool] = False
    """Whether it reads where residues are, though the model does not."""

    @property
    @abstractmethod
    def quantities(self) -> tuple[Quantity, ...]:
        """The curves it measures, in the order of its values."""

    @property
    def matrices(self) -> tuple[Quantity, ...]:
        """The matrices over pairs of layers that it measures, in the order of its values; most metrics have none."""
        return ()

    @property
    def reduction(self) -> Reduction:
        """How sequences are reduced."""
        return "mean"

    def prepared(self, stack: LayerStack, examples: Iterable[Example]) -> Self:  # noqa: ARG002 (most need nothing)
        """Return the metric with what it must know of the whole data set first, the mean states say."""
        return self

    def bound(self, stack: LayerStack) -> Self:  # noqa: ARG002 (most are the same for all models)
        """Return the metric for a model, whose heads may be among its components."""
        return self

    def statistics(self, stack: LayerStack) -> Statistics | None:  # noqa: ARG002 (most metrics have none)
        """Return what accumulates numbers that do not follow from mean curves."""
        return None

    @abstractmethod
    def measure(self, stack: LayerStack, example: Example) -> Values:
        """Return what the batch shows."""

    def scalars(self, curves: Curves) -> dict[str, Tensor]:  # noqa: ARG002 (most metrics have none)
        """Return the numbers that follow from mean curves; each ``[...]`` as the leading axes of the curves."""
        return {}

    def described(self, stack: LayerStack) -> dict[str, Any]:
        """Return what a record says of its quantities, by metric."""
        return {
            self.name: {
                "title": self.title or self.name.replace("_", " ").capitalize(),
                "curves": [quantity.described() for quantity in self.quantities],
                "matrices": [
                    matrix.described() | {"first_layer": matrix.first_layer, "axes": list(matrix.axes)}
                    for matrix in self.matrices
                ],
                "meaningless": dict(self.meaningless(stack)),
            }
        }

    def meaningless(self, stack: LayerStack) -> Mapping[str, str]:  # noqa: ARG002 (most numbers always mean something)
        """Return the scalars that mean nothing for this model, each with the reason; they are recorded as null."""
        return {}


@dataclass(frozen=True, kw_only=True)
class InterveningMetric(Metric):
    """A metric that changes the run, one sequence after the other: without padding, all branches share layer calls.

    Attributes:
        max_rows: most branches that run at once; changes speed and memory, never a number.
    """

    max_rows: int = 8

    def __post_init__(self) -> None:
        if self.max_rows < 1:
            raise InputError(f"metric.max_rows={self.max_rows}: at least one branch runs at a time")

    @abstractmethod
    def measure_sequence(self, stack: LayerStack, example: Example) -> tuple[Tensor, Tensor | None]:
        """Return curves ``[quantity, layer]`` over 0..L and matrices ``[matrix, layer, layer]`` of one sequence."""

    @torch.no_grad()
    def measure(self, stack: LayerStack, example: Example) -> Values:
        """Measure every sequence of a batch.

        Raises:
            InputError: the model cannot be measured so.
            NonFiniteStateError: a state, a gradient or a changed prediction holds NaN or infinity.
        """
        found = [self.measure_sequence(stack, example.sequence(row)) for row in range(len(example.targets))]
        matrices = [matrix for _, matrix in found if matrix is not None]
        return Values(torch.stack([curves for curves, _ in found]), torch.stack(matrices) if matrices else None)


class BatchObserver(Observer, Protocol):
    """An observer of one batch that ends in values."""

    def values(self) -> Tensor:
        """Return ``[sequence, quantity, layer]``."""


class ObservingMetric(Metric):
    """A metric that watches a run without changing it, so several of them can share one forward pass."""

    @abstractmethod
    def observer(self, stack: LayerStack, example: Example) -> BatchObserver:
        """Return what watches the run of one batch."""

    def measure(self, stack: LayerStack, example: Example) -> Values:
        """Run the stack once and return what the observer measured."""
        return observe([self], stack, example)


@dataclass(frozen=True)
class Suite(Metric):
    """Several observing metrics on one forward pass.

    Attributes:
        metrics: the metrics by name.
    """

    name: ClassVar[str] = "suite"
    metrics: Mapping[str, ObservingMetric]

    def bound(self, stack: LayerStack) -> Self:
        """Return the suite of all metrics for a model."""
        return replace(self, metrics={name: metric.bound(stack) for name, metric in self.metrics.items()})

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The quantities of all metrics, one after the other."""
        return tuple(quantity for metric in self.metrics.values() for quantity in metric.quantities)

    def measure(self, stack: LayerStack, example: Example) -> Values:
        """Run the stack once for all metrics."""
        return observe(list(self.metrics.values()), stack, example)

    def scalars(self, curves: Curves) -> dict[str, Tensor]:
        """Return the scalars of all metrics."""
        return {name: value for metric in self.metrics.values() for name, value in metric.scalars(curves).items()}

    def described(self, stack: LayerStack) -> dict[str, Any]:
        """Return what a record says of the quantities of all metrics."""
        return {name: each for metric in self.metrics.values() for name, each in metric.described(stack).items()}

    def meaningless(self, stack: LayerStack) -> Mapping[str, str]:
        """Return what means nothing of all metrics."""
        return {name: why for metric in self.metrics.values() for name, why in metric.meaningless(stack).items()}


@torch.no_grad()
def observe(metrics: Sequence[ObservingMetric], stack: LayerStack, example: Example) -> Values:
    """Run the stack once under the eyes of all metrics; return the curves of all."""
    observers = [metric.observer(stack, example) for metric in metrics]
    stack.run(example.tokens, observers)
    return Values(torch.cat([observer.values() for observer in observers], dim=1))
