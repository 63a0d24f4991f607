"""The answer: which layer serves a task best, how sure that is, and what it costs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from torch import Tensor

from plmdepth.metrics.accumulators import Estimate
from plmdepth.metrics.quantity import Quantity
from plmdepth.probes.scores.bootstrap import difference

Answer = tuple[float | None, Mapping[str, float | None] | None]
"""A number and its interval."""


@dataclass(frozen=True)
class ScoredSplit:
    """The scores of all layers on one split.

    Attributes:
        name: ``valid``, ``test`` and so on.
        scores: by name, ``[layer]``.
    """

    name: str
    scores: Mapping[str, Estimate]

    def answers(self, metric: str, chooser: "ScoredSplit") -> dict[str, Answer]:
        """Return the best layer as another split (validation) chose it, its score here, and the last layer's.

        Args:
            metric: the main score.
            chooser: the split that picks the layer, so that the test is not asked twice.
        """
        best = int(chooser.scores[metric].value.nan_to_num(nan=-math.inf).argmax())
        here = self.scores[metric]
        apart = difference(here)
        return {
            "best_layer": (float(best), None),
            "best_layer_depth": (best / (len(here.value) - 1), None),
            f"{self.name}_{metric}_best": _at(here, best),
            f"{self.name}_{metric}_last": _at(here, -1),
            f"{self.name}_{metric}_gain": _at(apart, best),
        }


def quantities_of(splits: Sequence[ScoredSplit]) -> list[Quantity]:
    """Return what the curves show: every score on every split, over layers 0..L."""
    return [
        Quantity("probe", score, "", score.replace("_", " "), split.name, bounds=(-1, 1))
        for split in splits
        for score in split.scores
    ]


def ranked(splits: Sequence[ScoredSplit], metric: str, milliseconds: Sequence[float]) -> pd.DataFrame:
    """Return one row a layer, the best on the first split (validation) first, with the scores on all of them.

    Columns: ``layer``, ``depth``, ``milliseconds`` a protein to run that far, and for every split the main score with
    its interval and the paired difference to the last layer with its interval.
    """
    n_layers = len(milliseconds) - 1
    table = pd.DataFrame({"layer": range(n_layers + 1), "milliseconds": milliseconds})
    table.insert(1, "depth", table["layer"] / n_layers)
    for split in splits:
        score = split.scores[metric]
        for name, found in ((metric, score), ("difference_to_last", difference(score))):
            table[f"{split.name}_{name}"] = found.value.tolist()
            table[f"{split.name}_{name}_low"] = found.low.tolist()
            table[f"{split.name}_{name}_high"] = found.high.tolist()
    return table.sort_values(f"{splits[0].name}_{metric}", ascending=False, kind="stable").reset_index(drop=True)


def _at(found: Estimate, layer: int) -> Answer:
    low, high = _finite(found.low[layer]), _finite(found.high[layer])
    return _finite(found.value[layer]), {"low": low, "high": high} if low is not None and high is not None else None


def _finite(value: Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
