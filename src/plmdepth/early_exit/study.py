"""What leaving early costs and gains: scores at any threshold from one pass of all heads, and seconds, measured."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from plmdepth.early_exit.inference import EarlyExit
from plmdepth.early_exit.policy import FALLBACKS, ProteinConfidence, exits, predictions_at
from plmdepth.early_exit.trained_probe import HeadLogits, TrainedProbe
from plmdepth.metrics.accumulators import Estimate, bootstrap_weights
from plmdepth.probes.layerwise.evaluation import scores_of
from plmdepth.probes.layerwise.features import spelt
from plmdepth.probes.layerwise.losses import probabilities
from plmdepth.proteins.batches import token_budget_batches
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.tasks.task import NOT_SCORED, Kind
from plmdepth.scores.bootstrap import bootstrap, difference
from plmdepth.scores.calibration import predicted_class, predicted_terms, reliability_curve
from plmdepth.scores.confidence import binary_cross_entropy, zero_one_loss
from plmdepth.scores.selective import weighted_aurc, weighted_excess_aurc

_SCORED_AT_ONCE = 256  # proteins
_RANKED_AT_ONCE = 2**21  # replicates times rows


@dataclass(frozen=True)
class HeadOutputs:
    """The predictions of all heads for some proteins: one row a protein, or one a residue, with or without a label.

    Attributes:
        probabilities: of layers 0..L, ``[layer, row, class]``, the rows of a protein one after another.
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

    @classmethod
    def of(cls, probe: TrainedProbe, split: str, known: HeadLogits, rule: ProteinConfidence, n_replicates: int) -> Self:
        """Return the outputs for a split at the probe's temperatures.

        Args:
            probe: the probe.
            split: the split.
            known: its logits.
            rule: how sure the heads are of a protein.
            n_replicates: bootstrap replicates of the scores.
        """
        task, proteins = probe.cell.task, [each.protein for each in probe.cell.task.splits[split]]
        found = probabilities(known.logits / probe.temperatures[:, None, None].float(), task.kind)
        return cls(found, known.labels, known.counts, proteins, task.kind, rule, probe.cell.seed, n_replicates)

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

    def predictions(self, layer: Tensor) -> Tensor:
        """Return the predictions ``[row, class]`` that proteins leave with at a layer each, ``[protein]``."""
        return predictions_at(self.probabilities, layer.repeat_interleave(self.counts))

    def scores(self, layers: Tensor) -> Mapping[str, Estimate]:
        """Return every score, ``[choice]``, of what proteins leave with.

        Args:
            layers: the layer that is taken of each protein, ``[choice, protein]``.
        """
        found = scores_of(self.kind, len(layers), self.probabilities.shape[-1], self.n_replicates)
        weights, starts = self._weights, self.counts.cumsum(0) - self.counts
        for some in torch.arange(len(self.proteins)).split(_SCORED_AT_ONCE):
            counts, first = self.counts[some], int(starts[some[0]])
            rows = slice(first, first + int(counts.sum()))
            known = self.probabilities[:, rows]
            picked = [predictions_at(known, each.repeat_interleave(counts)) for each in layers[:, some]]
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
        at_once = max(1, _RANKED_AT_ONCE // max(1, len(scored)))

        def replicated(area: Callable[[Tensor, Tensor, Tensor], Tensor], weights: Tensor) -> Tensor:
            return torch.cat([area(certainty, losses, some[:, protein]) for some in weights.split(at_once)])

        areas = {"aurc": weighted_aurc, "excess_aurc": weighted_excess_aurc}
        return {name: bootstrap(partial(replicated, area), self._weights) for name, area in areas.items()}

    @cached_property
    def _weights(self) -> Tensor:
        return bootstrap_weights(self.proteins, self.seed, self.n_replicates)


def exit_table(outputs: HeadOutputs, thresholds: Tensor, metric: str) -> pd.DataFrame:
    """Return one row a fallback and threshold.

    Columns: ``fallback``, ``threshold``, ``layers`` (mean number computed), ``share`` of all layers, the score with its
    interval, and its paired difference to the last layer's with its interval.
    """
    tables = []
    for fallback in FALLBACKS:
        left = exits(outputs.confidence, thresholds, fallback)
        scores = outputs.scores(torch.cat([left.layer, outputs.single_layers[-1:]]))[
            metric
        ]  # the last layer comes last
        layers = left.computed.double().mean(1)
        table = pd.DataFrame({"fallback": fallback, "threshold": thresholds.tolist(), "layers": layers.tolist()})
        table["share"] = table["layers"] / outputs.n_layers
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


def reliability_table(outputs: Mapping[str, HeadOutputs]) -> pd.DataFrame:
    """Return whether probabilities come true as often as they claim: one row a layer and bin that holds predictions.

    Columns: ``scaling`` (the key: plain, or at the temperatures of validation), ``layer``, ``bin`` (from 0),
    ``probability`` (mean in the bin), ``frequency`` (share that came true), ``n``, and ``error``, the expected
    calibration error of the layer.
    """
    tables = []
    for scaling, each in outputs.items():
        outcomes = predicted_terms if each.kind == "multilabel" else predicted_class
        curve = reliability_curve(*outcomes(each.probabilities, each.labels))
        n_layers, n_bins = curve.n.shape
        columns = {
            "scaling": scaling,
            "layer": [layer for layer in range(n_layers) for _ in range(n_bins)],
            "bin": list(range(n_bins)) * n_layers,
            "probability": curve.probability.flatten().tolist(),
            "frequency": curve.frequency.flatten().tolist(),
            "n": curve.n.flatten().long().tolist(),
            "error": curve.error.repeat_interleave(n_bins).tolist(),
        }
        tables.append(pd.DataFrame(columns).query("n > 0"))
    return pd.concat(tables, ignore_index=True)


def wall_times(
    early: EarlyExit, proteins: Sequence[Protein], thresholds: Sequence[float], tokens_per_batch: int, rounds: int
) -> pd.DataFrame:
    """Return one row a threshold: layers and seconds, both also as a share of the full pass.

    All runs are timed in turn, once to warm up and then ``rounds`` times; the median counts. The full pass runs every
    layer over the same batches, the last head, and no head between.

    Columns: ``threshold``, ``layers`` (mean number computed), ``layer_share``, ``seconds``, ``full_seconds``,
    ``time_share``.
    """
    layers: dict[float, float] = {}

    def leave(threshold: float) -> None:
        runs = replace(early, threshold=threshold).run(proteins, tokens_per_batch)
        computed = torch.cat([found.computed for _, found in runs])
        layers[threshold] = computed.double().mean().item()

    works: dict[Any, Callable[[], None]] = {threshold: partial(leave, threshold) for threshold in thresholds}
    works["full"] = partial(_full_pass, early, proteins, tokens_per_batch)
    seconds = _median_seconds(works, rounds, early.device)
    table = pd.DataFrame({"threshold": list(thresholds), "layers": [layers[each] for each in thresholds]})
    table["layer_share"] = table["layers"] / early.stack.n_layers
    table["seconds"] = [seconds[each] for each in thresholds]
    table["full_seconds"] = seconds["full"]
    table["time_share"] = table["seconds"] / table["full_seconds"]
    return table


@torch.no_grad()
def _full_pass(early: EarlyExit, proteins: Sequence[Protein], tokens_per_batch: int) -> None:
    stack = early.stack
    for batch in token_budget_batches([len(protein) for protein in proteins], tokens_per_batch):
        tokens = spelt(stack, [proteins[i].sequence for i in batch], early.device)
        state, call = stack.embed(tokens)
        for layer in range(1, stack.n_layers + 1):
            state = stack.apply_layer(layer, state, call)
        early.predictions(stack.n_layers, state, early.inputs.places(tokens))


def _median_seconds(works: dict[Any, Callable[[], None]], rounds: int, device: torch.device) -> dict[Any, float]:
    times: dict[Any, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def time_over_layers(table: pd.DataFrame) -> dict[str, float]:
    """Return slope, intercept and r^2 of the share of time over the share of layers; NaN with fewer than three."""
    x, y = table["layer_share"].to_numpy(), table["time_share"].to_numpy()
    if len(np.unique(x)) < 3:
        return dict.fromkeys(("slope", "intercept", "r_squared"), float("nan"))
    slope, intercept = np.polyfit(x, y, 1)
    left_over = y - (slope * x + intercept)
    return {
        "slope": float(slope),
        "intercept": float(intercept),
        "r_squared": float(1 - left_over.var() / y.var()),
    }
