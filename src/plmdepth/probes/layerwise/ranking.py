"""The answer: which layer serves a task best, how sure that is, and what it costs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from plmdepth.analysis.tables import CurveLabels, curve_table
from plmdepth.metrics.accumulators import Estimate
from plmdepth.metrics.quantity import Quantity
from plmdepth.scores.bootstrap import certain, difference

Answer = tuple[float | None, Mapping[str, float | None] | None]
"""A number and its interval."""


@dataclass(frozen=True)
class LayerScores:
    """The scores of all layers on one split.

    Attributes:
        name: ``valid``, ``test`` and so on.
        scores: by name, ``[layer]`` over 0..L, NaN where a layer has no head.
        layers: those that have one, rising; None for all. The last of them is what the others are compared with.
        clusters: how many different sequences the split has; None where intervals stay as the bootstrap has them.
    """

    name: str
    scores: Mapping[str, Estimate]
    layers: Sequence[int] | None = None
    clusters: int | None = None

    def gaps(self, metric: str) -> Estimate:
        """Return every layer's score less that of the last layer that has a head."""
        found = difference(self.scores[metric], self.last())
        if self.clusters is None:
            return found
        low, high = range_of(metric)
        known = certain(found, (low - high, high - low), self.clusters, high - low)
        known.low[self.last()] = known.high[self.last()] = 0.0  # of itself
        return known

    def last(self) -> int:
        """Return the last layer that has a head."""
        n_layers = len(next(iter(self.scores.values())).value) - 1
        return n_layers if self.layers is None else self.layers[-1]

    def answers(self, metric: str, chooser: "LayerScores") -> dict[str, Answer]:
        """Return the best layer as another split (validation) chose it, its score here, and the last layer's.

        Args:
            metric: the main score.
            chooser: the split that picks the layer, so that the test is not asked twice.
        """
        best = int(chooser.scores[metric].value.nan_to_num(nan=-math.inf).argmax())
        here = self.scores[metric]
        return {
            "best_layer": (float(best), None),
            "best_layer_depth": (best / (len(here.value) - 1), None),
            f"{self.name}_{metric}_best": answer_at(here, best),
            f"{self.name}_{metric}_last": answer_at(here, self.last()),
            f"{self.name}_{metric}_gain": answer_at(self.gaps(metric), best),
        }


def range_of(score: str) -> tuple[float, float]:
    """Return the least and the greatest value of a score."""
    return (-1.0, 1.0) if score == "mcc" else (0.0, 1.0)


def quantities_of(splits: Sequence[LayerScores]) -> list[Quantity]:
    """Return what the curves show: every score on every split."""
    return [
        Quantity("probe", score, "", score.replace("_", " "), split.name, bounds=(-1, 1))
        for split in splits
        for score in split.scores
    ]


def curves_of(splits: Sequence[LayerScores], labels: CurveLabels) -> pa.Table:
    """Return the curves of all scores, one row a layer that has a head."""
    estimates = [estimate for split in splits for estimate in split.scores.values()]
    stacked = Estimate(*(torch.stack(parts) for parts in zip(*estimates, strict=True)))
    table = curve_table(stacked, quantities_of(splits), labels)
    layers = splits[0].layers
    return table if layers is None else table.filter(pc.is_in(table["layer"], pa.array(layers)))


def placed(scores: Mapping[str, Estimate], layers: Sequence[int], n_layers: int) -> dict[str, Estimate]:
    """Return scores ``[layer]`` of some layers over all of them, 0..L, NaN elsewhere.

    Args:
        scores: by name, of the layers that have heads.
        layers: their numbers, rising.
        n_layers: L.
    """

    def spread(values: Tensor, empty: float) -> Tensor:
        full = values.new_full((*values.shape[:-1], n_layers + 1), empty)
        return full.index_copy(-1, torch.tensor(layers), values)

    return {
        name: Estimate(*(spread(part, 0 if field == "n" else math.nan) for field, part in found._asdict().items()))
        for name, found in scores.items()
    }


def ranked(splits: Sequence[LayerScores], metric: str, milliseconds: Sequence[float]) -> pd.DataFrame:
    """Return one row a layer with a head, the best on the first split (validation) first, with the scores on all.

    Args:
        splits: the splits.
        metric: the main score.
        milliseconds: of layers 0..L.

    Columns: ``layer``, ``depth``, ``milliseconds`` a protein to run that far, and for every split the main score with
    its interval and the paired difference to the last of the layers with its interval.
    """
    n_layers = len(milliseconds) - 1
    table = pd.DataFrame({"layer": range(n_layers + 1), "milliseconds": milliseconds})
    table.insert(1, "depth", table["layer"] / n_layers)
    for split in splits:
        score = split.scores[metric]
        for name, found in ((metric, score), ("difference_to_last", split.gaps(metric))):
            table[f"{split.name}_{name}"] = found.value.tolist()
            table[f"{split.name}_{name}_low"] = found.low.tolist()
            table[f"{split.name}_{name}_high"] = found.high.tolist()
    if splits[0].layers is not None:
        table = table[table["layer"].isin(list(splits[0].layers))]
    return table.sort_values(f"{splits[0].name}_{metric}", ascending=False, kind="stable").reset_index(drop=True)


def answer_at(found: Estimate, layer: int) -> Answer:
    """Return the value of one layer with its interval."""
    low, high = _finite(found.low[layer]), _finite(found.high[layer])
    return _finite(found.value[layer]), {"low": low, "high": high} if low is not None and high is not None else None


def _finite(value: Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
