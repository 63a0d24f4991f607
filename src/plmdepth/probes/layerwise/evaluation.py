"""The scores of all heads on one split, with intervals over proteins."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from plmdepth.metrics.accumulators import Estimate, bootstrap_weights
from plmdepth.probes.layerwise.data import ReadBatch
from plmdepth.probes.layerwise.heads import LayerHeads
from plmdepth.probes.layerwise.losses import probabilities
from plmdepth.probes.layerwise.ranking import range_of
from plmdepth.proteins.batches import token_budget_batches
from plmdepth.proteins.tasks.task import Kind, Labelled
from plmdepth.scores.average_precision import AveragePrecision
from plmdepth.scores.bootstrap import certain
from plmdepth.scores.class_scores import ClassScores
from plmdepth.scores.f1_max import F1Max

BATCH = 64


class Scores(Protocol):
    """Scores of all layers over a stream of proteins."""

    def update(self, probabilities: Tensor, labels: Tensor, weights: Tensor, segment: Tensor) -> None:
        """Add rows: probabilities ``[layer, row, class]``; ``segment`` is the protein of each row in this batch."""

    def compute(self) -> Mapping[str, Estimate]:
        """Return every score, ``[layer]``."""


class MultilabelScores:
    """``f1_max`` and ``auprc_micro``."""

    def __init__(self, n_layers: int, n_replicates: int) -> None:
        self._f1_max = F1Max(n_layers, n_replicates)
        self._precision = AveragePrecision(n_replicates)

    def update(self, probabilities: Tensor, labels: Tensor, weights: Tensor, segment: Tensor) -> None:  # noqa: ARG002
        """Add proteins; labels ``[protein, class]``."""
        self._f1_max.update(probabilities, labels, weights)
        self._precision.update(probabilities, labels, weights)

    def compute(self) -> Mapping[str, Estimate]:
        """Return both scores."""
        return {"f1_max": self._f1_max.compute().score, "auprc_micro": self._precision.compute()}


class SingleLabelScores:
    """``accuracy``, ``macro_accuracy`` and ``mcc``, of proteins or of residues."""

    def __init__(self, n_layers: int, n_classes: int, n_replicates: int) -> None:
        self._scores = ClassScores(n_layers, n_classes, n_replicates)

    def update(self, probabilities: Tensor, labels: Tensor, weights: Tensor, segment: Tensor) -> None:
        """Add rows; labels ``[row]``."""
        self._scores.update(probabilities, labels, weights, segment)

    def compute(self) -> Mapping[str, Estimate]:
        """Return all three scores."""
        found = self._scores.compute()
        return {"accuracy": found.accuracy, "macro_accuracy": found.macro_accuracy, "mcc": found.mcc}


def scores_of(kind: Kind, n_layers: int, n_classes: int, n_replicates: int) -> Scores:
    """Return the scores of a kind of task."""
    if kind == "multilabel":
        return MultilabelScores(n_layers, n_replicates)
    return SingleLabelScores(n_layers, n_classes, n_replicates)


@torch.no_grad()
def evaluate(
    heads: LayerHeads,
    read: ReadBatch,
    labelled: Sequence[Labelled],
    kind: Kind,
    seed: int,
    n_replicates: int,
    batches: Sequence[Sequence[int]],
) -> Mapping[str, Estimate]:
    """Return every score of every layer on some proteins.

    Args:
        heads: the trained heads, wherever they are.
        read: makes batches of them.
        labelled: the proteins.
        kind: what a label is.
        seed: of the bootstrap.
        n_replicates: bootstrap replicates.
        batches: the places of those that are scored, each once; how they are divided changes nothing.
    """
    heads.eval()
    device = next(heads.parameters()).device
    scores: Scores | None = None
    for rows in batches:
        features, labels = read(rows)
        predicted = probabilities(heads.predict(features.to(device)), kind).transpose(0, 1).cpu()
        if scores is None:
            scores = scores_of(kind, len(predicted), predicted.shape[-1], n_replicates)
        chosen = [labelled[row] for row in rows]
        weights = bootstrap_weights([each.protein for each in chosen], seed, n_replicates)
        scores.update(predicted, labels, weights, _segments(chosen, kind))
    assert scores is not None
    different = clusters(labelled, [place for rows in batches for place in rows])
    return {
        name: certain(found, bounds := range_of(name), different, bounds[1] - bounds[0])
        for name, found in scores.compute().items()
    }


def clusters(labelled: Sequence[Labelled], places: Sequence[int]) -> int:
    """Return how many different sequences some proteins have: what the bootstrap draws."""
    return len({labelled[place].protein.sequence for place in places})


def evaluation_batches(
    labelled: Sequence[Labelled], places: Sequence[int], residues: bool, tokens: int
) -> Sequence[Sequence[int]]:
    """Return batches of proteins that fit into memory.

    Args:
        labelled: the proteins of a split.
        places: those of them that are scored.
        residues: whether all residues of a protein are read; without it one vector is.
        tokens: most residues a batch, where they are read.
    """
    if residues:
        batches = token_budget_batches([len(labelled[place].protein) for place in places], tokens)
        return [[places[index] for index in batch] for batch in batches]
    return [places[start : start + BATCH] for start in range(0, len(places), BATCH)]


def _segments(labelled: Sequence[Labelled], kind: Kind) -> Tensor:
    """Return the protein, counted from 0, of every row of a batch."""
    counts = [int((each.label >= 0).sum()) if kind == "residue" else 1 for each in labelled]
    return torch.arange(len(labelled)).repeat_interleave(torch.tensor(counts))
