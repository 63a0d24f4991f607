"""How predictions are said in a table: one label a protein, several, or one a residue."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import pyarrow as pa
from torch import Tensor

from plmdepth.proteins.tasks.task import Kind

_WHERE = [("layer", pa.int64()), ("layers_computed", pa.int64())]
"""``layer`` is whose prediction it is, ``layers_computed`` how many had to be run."""
_LETTERS_APART = ";"


class Naming(Protocol):
    """Names what is predicted of a protein."""

    schema: pa.Schema

    def of(self, probabilities: Tensor) -> tuple[Any, ...]:
        """Return the columns between ``id`` and ``layer``.

        Args:
            probabilities: of the protein, ``[row, class]``.
        """


@dataclass(frozen=True)
class OneLabel:
    """The likeliest class of a protein and its probability.

    Attributes:
        classes: their names.
    """

    classes: Sequence[str]
    schema = pa.schema([("id", pa.string()), ("label", pa.string()), ("probability", pa.float32()), *_WHERE])

    def of(self, probabilities: Tensor) -> tuple[str, float]:
        """Return label and probability."""
        best = int(probabilities[0].argmax())
        return self.classes[best], _rounded(probabilities[0, best])


@dataclass(frozen=True)
class ManyLabels:
    """The terms of a protein at or above a probability, the likeliest first; none is an empty list.

    Attributes:
        classes: their names.
        least: the probability from which a term is predicted.
    """

    classes: Sequence[str]
    least: float
    schema = pa.schema(
        [("id", pa.string()), ("labels", pa.list_(pa.string())), ("probabilities", pa.list_(pa.float32())), *_WHERE]
    )

    def of(self, probabilities: Tensor) -> tuple[list[str], list[float]]:
        """Return labels and probabilities."""
        order = probabilities[0].argsort(descending=True, stable=True).tolist()
        said = [term for term in order if probabilities[0, term] >= self.least]
        return [self.classes[term] for term in said], [_rounded(probabilities[0, term]) for term in said]


@dataclass(frozen=True)
class ResidueLabels:
    """The likeliest class of every residue in order, as text: ``HHHEEC``, or ``free;free;coupled`` for longer names.

    Attributes:
        classes: their names.
    """

    classes: Sequence[str]
    schema = pa.schema(
        [
            *(("id", pa.string()), ("labels", pa.string()), ("mean_probability", pa.float32())),
            *(("probabilities", pa.list_(pa.float32())), *_WHERE),
        ]
    )

    def of(self, probabilities: Tensor) -> tuple[str, float, list[float]]:
        """Return the labels, the mean of their probabilities, and the probability of each."""
        best, classes = probabilities.max(-1)
        apart = _LETTERS_APART if any(len(name) > 1 for name in self.classes) else ""
        labels = apart.join(self.classes[index] for index in classes.tolist())
        return labels, _rounded(best.double().mean()), [_rounded(each) for each in best]


NAMINGS: Mapping[Kind, Callable[[Sequence[str], float | None], Naming]]
"""From the kind of a task to what names its predictions, of its classes and the probability of a term."""
NAMINGS = MappingProxyType(
    {
        "multiclass": lambda classes, least: OneLabel(classes),  # noqa: ARG005 (only terms have a least probability)
        "multilabel": lambda classes, least: ManyLabels(classes, least or 0.0),
        "residue": lambda classes, least: ResidueLabels(classes),  # noqa: ARG005
    }
)


def _rounded(probability: Tensor) -> float:
    return round(float(probability), 6)
