"""What a measurement is to the rest of the house.

A metric is a pure function from a batch to one value per sequence, quantity and layer. `CurveAccumulator` averages
those values over the data; nothing in a metric knows of files, plots or tracking.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol, Self

import torch
from torch import Tensor

from plmdepth.language_models.layer_stack import LayerStack, Observer
from plmdepth.metrics.quantity import Quantity
from plmdepth.objectives.objective import Example

Curves = Mapping[tuple[str, str], Tensor]
"""(name, component) to a curve ``[..., layer]`` over layers 0..L, or a matrix ``[..., layer, layer]`` over 1..L."""


Reduction = Literal["mean", "max"]
"""How values of sequences become one value of the data set."""


class Values(NamedTuple):
    """What a metric measured on a batch, in double precision, NaN where undefined.

    Attributes:
        curves: ``[sequence, quantity, layer]``, layers 0..L.
        matrices: ``[sequence, matrix, layer intervened on, layer measured]``, both 1..L; None if it has no matrices.
    """

    curves: Tensor
    matrices: Tensor | None = None


class Metric(Protocol):
    """A measurement of a stack on batches."""

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The curves it measures, in the order of its values."""

    @property
    def matrices(self) -> tuple[Quantity, ...]:
        """The matrices over pairs of layers that it measures, in the order of its values."""

    @property
    def reduction(self) -> Reduction:
        """How sequences are reduced."""

    def prepared(self, stack: LayerStack, examples: Iterable[Example]) -> "Metric":
        """Return the metric with what it must know of the whole data set first, the mean states say."""

    def measure(self, stack: LayerStack, example: Example) -> Values:
        """Return what the batch shows."""

    def scalars(self, curves: Curves) -> dict[str, Tensor]:
        """Return the numbers that follow from mean curves; each ``[...]`` as the leading axes of the curves."""


class BatchObserver(Observer, Protocol):
    """An observer of one batch that ends in values."""

    def values(self) -> Tensor:
        """Return ``[sequence, quantity, layer]``."""


class ObservingMetric(ABC):
    """A metric that watches a run without changing it, so several of them can share one forward pass."""

    matrices: ClassVar[tuple[Quantity, ...]] = ()
    reduction: ClassVar[Reduction] = "mean"

    @property
    @abstractmethod
    def quantities(self) -> tuple[Quantity, ...]:
        """The curves it measures, in the order of its values."""

    @abstractmethod
    def observer(self, stack: LayerStack, example: Example) -> BatchObserver:
        """Return what watches the run of one batch."""

    def prepared(self, stack: LayerStack, examples: Iterable[Example]) -> Self:  # noqa: ARG002 (nothing to know)
        """Return the metric itself."""
        return self

    def scalars(self, curves: Curves) -> dict[str, Tensor]:  # noqa: ARG002 (most metrics have none)
        """Return the numbers that follow from mean curves."""
        return {}

    def measure(self, stack: LayerStack, example: Example) -> Values:
        """Run the stack once and return what the observer saw."""
        return observe([self], stack, example)


@dataclass(frozen=True)
class Suite:
    """Several observing metrics on one forward pass.

    Attributes:
        metrics: the metrics by name.
    """

    matrices: ClassVar[tuple[Quantity, ...]] = ()
    reduction: ClassVar[Reduction] = "mean"
    metrics: Mapping[str, ObservingMetric]

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The quantities of all metrics, one after the other."""
        return tuple(quantity for metric in self.metrics.values() for quantity in metric.quantities)

    def prepared(self, stack: LayerStack, examples: Iterable[Example]) -> Self:  # noqa: ARG002 (nothing to know)
        """Return the suite itself."""
        return self

    def measure(self, stack: LayerStack, example: Example) -> Values:
        """Run the stack once for all metrics."""
        return observe(list(self.metrics.values()), stack, example)

    def scalars(self, curves: Curves) -> dict[str, Tensor]:
        """Return the scalars of all metrics."""
        return {name: value for metric in self.metrics.values() for name, value in metric.scalars(curves).items()}


@torch.no_grad()
def observe(metrics: Sequence[ObservingMetric], stack: LayerStack, example: Example) -> Values:
    """Run the stack once under the eyes of all metrics; return the curves of all."""
    observers = [metric.observer(stack, example) for metric in metrics]
    stack.run(example.tokens, observers)
    return Values(torch.cat([observer.values() for observer in observers], dim=1))
