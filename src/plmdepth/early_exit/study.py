"""What leaving early costs and gains, for all thresholds at once, from what every head said once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import torch
from torch import Tensor

from plmdepth.early_exit.confidence import ProteinConfidence
from plmdepth.early_exit.policy import FALLBACKS, chosen, exits
from plmdepth.metrics.accumulators import Estimate, bootstrap_weights
from plmdepth.probes.layerwise.evaluation import scores_of
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.tasks.task import NOT_SCORED, Kind
from plmdepth.scores.bootstrap import bootstrap, difference
from plmdepth.scores.confidence import binary_cross_entropy, zero_one_loss
from plmdepth.scores.selective import weighted_aurc, weighted_excess_aurc

_TOGETHER = 256  # proteins that are scored at once
_CELLS = 2**21  # replicates times rows that are ranked at once


@dataclass(frozen=True)
class Said:
    """What all heads said of some proteins: one row a protein, or one a residue, those without a label included.

    Attributes:
        probabilities: of layers 0..L, ``[layer, row, class]``, the rows of a protein together.
        labels: ``[row, class]`` of a multi-label task, else ``[row]``, -1 where a residue is not scored.
        counts: rows of each protein, ``[protein]``.
        proteins: the proteins.
        kind: the task's kind.
        rule: how sure the heads are of a protein, from all of its rows.
        seed: of the bootstrap.
        n_replicates: bootstrap replicates.
    """

    probabilities: Tensor
    labels: Tensor
    counts: Tensor
    proteins: Sequence[Protein]
    kind: Kind
    rule: ProteinConfidence
    seed: int
    n_replicates: int

    @property
    def n_layers(self) -> int:
        """L, the number of layers."""
        return len(self.probabilities) - 1

    @cached_property
    def confidence(self) -> Tensor:
        """How sure every head is of every protein, ``[layer, protein]``."""
        return self.rule.of_rows(self.probabilities, self.counts)

    @property
    def single_layers(self) -> Tensor:
        """The choice of one layer for all proteins, ``[layer, protein]``, for each of them."""
        return torch.arange(self.n_layers + 1)[:, None].expand(-1, len(self.proteins))

    def taken(self, layer: Tensor) -> Tensor:
        """Return the predictions ``[row, class]`` that proteins leave with at a layer each, ``[protein]``."""
        return chosen(self.probabilities, layer.repeat_interleave(self.counts))

    def scores(self, layers: Tensor) -> Mapping[str, Estimate]:
        """Return every score, ``[choice]``, of what proteins leave with.

        Args:
            layers: the layer that is taken of each protein, ``[choice, protein]``.
        """
        found = scores_of(self.kind, len(layers), self.probabilities.shape[-1], self.n_replicates)
        weights, starts = self._weights, self.counts.cumsum(0) - self.counts
        for some in torch.arange(len(self.proteins)).split(_TOGETHER):
            counts, first = self.counts[some], int(starts[some[0]])
            rows = slice(first, first + int(counts.sum()))
            picked = [chosen(self.probabilities[:, rows], each.repeat_interleave(counts)) for each in layers[:, some]]
            protein = torch.arange(len(some)).repeat_interleave(counts)
            found.update(torch.stack(picked), self.labels[rows], weights[:, some], protein)
        return found.compute()

    def selective(self) -> Mapping[str, Estimate]:
        """Return ``aurc`` and ``excess_aurc`` of every layer, ``[layer]``: how well certainty ranks losses.

        The items are the rows that have a label; a replicate weighs those of a protein alike.
        """
        scored = torch.arange(len(self.labels))
        if self.kind != "multilabel":
            scored = (self.labels != NOT_SCORED).nonzero()[:, 0]
        known, labels = self.probabilities[:, scored], self.labels[scored]
        losses = (binary_cross_entropy if self.kind == "multilabel" else zero_one_loss)(known, labels)
        certainty = self.rule.certainty(known)
        protein = torch.arange(len(self.counts)).repeat_interleave(self.counts)[scored]

        def replicated(area: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
            at_once = max(1, _CELLS // max(1, len(scored)))
            return lambda weights: torch.cat(
                [area(certainty, losses, some[:, protein]) for some in weights.split(at_once)]
            )

        areas = {"aurc": weighted_aurc, "excess_aurc": weighted_excess_aurc}
        return {name: bootstrap(replicated(area), self._weights) for name, area in areas.items()}

    @cached_property
    def _weights(self) -> Tensor:
        return bootstrap_weights(self.proteins, self.seed, self.n_replicates)


def exit_table(said: Said, thresholds: Tensor, metric: str) -> pd.DataFrame:
    """Return one row a fallback and threshold.

    Columns: ``fallback``, ``threshold``, ``layers`` (mean number computed), ``share`` of all layers, the score with its
    interval, and its paired difference to the last layer's with its interval.
    """
    tables = []
    for fallback in FALLBACKS:
        left = exits(said.confidence, thresholds, fallback)
        scores = said.scores(torch.cat([left.layer, said.single_layers[-1:]]))[metric]  # the last layer stands last
        layers = left.computed.double().mean(1)
        table = pd.DataFrame({"fallback": fallback, "threshold": thresholds.tolist(), "layers": layers.tolist()})
        table["share"] = table["layers"] / said.n_layers
        for name, found in ((metric, scores), ("difference_to_last", difference(scores))):
            table[name] = found.value[:-1].tolist()
            table[f"{name}_low"], table[f"{name}_high"] = found.low[:-1].tolist(), found.high[:-1].tolist()
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def choices(valid: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the thresholds that validation picks, at most two a fallback.

    ``no_loss``: the fewest layers among those whose score is at least the last layer's, if there are any; ``best``: the
    highest score, the fewest layers among equals. Columns: ``goal``, ``fallback``, ``threshold``.
    """
    rows = []
    for fallback, table in valid.groupby("fallback", sort=False):
        by_cost = table.sort_values("layers", kind="stable").reset_index(drop=True)
        kept = by_cost[by_cost["difference_to_last"] >= 0]
        best = by_cost.iloc[[int(by_cost[metric].to_numpy().argmax())]]
        for goal, found in (("no_loss", kept.head(1)), ("best", best)):
            rows += [{"goal": goal, "fallback": fallback, "threshold": each} for each in found["threshold"]]
    return pd.DataFrame(rows)
