"""What metrics of attention share: a value for every head of every layer, from one layer's scores at a time."""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from plmdepth.language_models.attention_scores import AttentionScores
from plmdepth.language_models.layer_stack import LayerStack, LayerView, Need
from plmdepth.metrics.metric import BatchObserver, ObservingMetric, Values, observe
from plmdepth.metrics.quantity import Quantity
from plmdepth.objectives.objective import Example

MEAN = "mean"
"""The component that is the mean over the heads of a layer."""


@dataclass(frozen=True, kw_only=True)
class HeadMetric(ObservingMetric):
    """A metric with a value for every head; heads are counted from 1, and their mean stands before them.

    Sequences are read whole: nothing is hidden, where a model can read them so (a decoder reads what it is given).

    Attributes:
        n_heads: heads a layer, known once the model is.
    """

    needs_head: ClassVar[bool] = False
    per_head: ClassVar[tuple[Quantity, ...]]
    """What is measured of a head."""
    n_heads: int = field(default=0, init=False, repr=False, compare=False)

    def bound(self, stack: LayerStack) -> Self:
        """Return the metric for a model, whose heads are components."""
        bound = copy.copy(self)
        object.__setattr__(bound, "n_heads", stack.n_heads)
        return bound

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """Every quantity of the mean and of every head, over layers 1..L."""
        components = [MEAN, *(f"head {number}" for number in range(1, self.n_heads + 1))]
        return tuple(
            replace(
                each,
                component=component,
                first_layer=1,
                heading=each.name.replace("_", "\n") if component == MEAN else "",  # heads are many
            )
            for each in self.per_head
            for component in components
        )

    @abstractmethod
    def read_layer(self, stack: LayerStack, scores: AttentionScores, row: int, example: Example) -> Any:
        """Return what is kept of the heads of a layer for a sequence: little, since all layers are kept."""

    @abstractmethod
    def values_of(self, layers: Sequence[Any]) -> Tensor:
        """Return the values of a sequence from what was kept of its layers, ``[quantity, head, layer]``."""

    def observer(self, stack: LayerStack, example: Example) -> BatchObserver:
        """Return what watches the heads of every layer."""
        return _HeadObserver(self, stack, example)

    def measure(self, stack: LayerStack, example: Example) -> Values:
        """Run the stack once over the whole sequences and return what the observer measured."""
        return observe([self], stack, example.whole())

    def of_heads(self, curves: Tensor, name: str) -> Tensor:
        """Return the values of one quantity, ``[sequence, head, layer]`` over layers 1..L."""
        index = [quantity.name for quantity in self.per_head].index(name) * (self.n_heads + 1)
        return curves[:, index + 1 : index + 1 + self.n_heads, 1:]


class _HeadObserver:
    needs: frozenset[Need] = frozenset({"attention_scores"})

    def __init__(self, metric: HeadMetric, stack: LayerStack, example: Example) -> None:
        self._metric, self._stack, self._example = metric, stack, example
        self._rows: list[list[Any]] = [[] for _ in example.targets]

    def embedded(self, state: Tensor) -> None:
        pass

    def observe(self, view: LayerView) -> None:
        assert view.attention_scores is not None
        for row, layers in enumerate(self._rows):
            layers.append(self._metric.read_layer(self._stack, view.attention_scores, row, self._example))

    def values(self) -> Tensor:
        heads = torch.stack([self._metric.values_of(layers) for layers in self._rows]).double()
        values = torch.cat([heads.nanmean(2, keepdim=True), heads], dim=2).flatten(1, 2)
        return torch.nn.functional.pad(values, (1, 0), value=torch.nan)


def among(scores: Tensor, kept: Sequence[int]) -> Tensor:
    """Return scores ``[head, query, key]`` among some tokens, in place where these follow one another."""
    if not kept or kept[-1] - kept[0] == len(kept) - 1:
        span = slice(kept[0], kept[-1] + 1) if kept else slice(0)
        return scores[:, span, span]
    index = torch.tensor(kept, device=scores.device)
    return scores[:, index[:, None], index]
