"""What leaving early costs and gains, for all thresholds at once, from what every head said once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from plmdepth.metrics.accumulators import Estimate, bootstrap_weights
from plmdepth.probes.exits.policy import FALLBACKS, chosen, confidence_of, exits
from plmdepth.probes.layerwise.evaluation import scores_of
from plmdepth.probes.scores.bootstrap import difference
from plmdepth.probes.scores.confidence import binary_cross_entropy, zero_one_loss
from plmdepth.probes.scores.selective import AURC, ExcessAURC
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.tasks.task import Kind


@dataclass(frozen=True)
class Said:
    """What all heads said of some proteins.

    Attributes:
        probabilities: of layers 0..L, ``[layer, protein, class]``.
        labels: ``[protein, class]`` of a multi-label task, else ``[protein]``.
        proteins: the proteins.
        kind: the task's kind.
        seed: of the bootstrap.
        n_replicates: bootstrap replicates.
    """

    probabilities: Tensor
    labels: Tensor
    proteins: Sequence[Protein]
    kind: Kind
    seed: int
    n_replicates: int

    @property
    def confidence(self) -> Tensor:
        """How sure every head is, ``[layer, protein]``."""
        return confidence_of(self.probabilities)

    def scores(self, predictions: Tensor) -> Mapping[str, Estimate]:
        """Return every score of several predictions ``[prediction, protein, class]``, ``[prediction]`` each."""
        found = scores_of(self.kind, len(predictions), predictions.shape[-1], self.n_replicates)
        weights = bootstrap_weights(self.proteins, self.seed, self.n_replicates)
        found.update(predictions, self.labels, weights, torch.arange(len(self.proteins)))
        return found.compute()

    def selective(self) -> Mapping[str, Estimate]:
        """Return ``aurc`` and ``excess_aurc`` of every layer's confidence, ``[layer]``."""
        loss = binary_cross_entropy if self.kind == "multilabel" else zero_one_loss
        losses = loss(self.probabilities, self.labels)
        weights = bootstrap_weights(self.proteins, self.seed, self.n_replicates)
        areas = {"aurc": AURC(self.n_replicates), "excess_aurc": ExcessAURC(self.n_replicates)}
        for area in areas.values():
            area.update(self.confidence, losses, weights)
        return {name: area.compute() for name, area in areas.items()}


def exit_table(said: Said, thresholds: Tensor, metric: str) -> pd.DataFrame:
    """Return one row a fallback and threshold.

    Columns: ``fallback``, ``threshold``, ``layers`` (mean number computed), ``share`` of all layers, the score with its
    interval, and its paired difference to the last layer's with its interval.
    """
    tables = []
    for fallback in FALLBACKS:
        left = exits(said.confidence, thresholds, fallback)
        taken = [chosen(said.probabilities, layer) for layer in left.layer]
        scores = said.scores(torch.stack([*taken, said.probabilities[-1]]))[metric]  # the last layer stands last
        layers = left.computed.double().mean(1)
        table = pd.DataFrame({"fallback": fallback, "threshold": thresholds.tolist(), "layers": layers.tolist()})
        table["share"] = table["layers"] / (len(said.probabilities) - 1)
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
