"""What a task owes to composition alone: a logistic regression that sees which residues there are, not their order.

Beside the heads of a model it says how much of their score needs no model. A protein is read as the fractions of the
20 amino acids and of any other letter, and the logarithm of its length; a residue as its own letter and the fractions
of its protein. The regression is that of `plmdepth.probes.layerwise.logistic`, the scores and the bootstrap are those
of the heads, so that both are compared in pairs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from plmdepth.metrics.accumulators import Estimate
from plmdepth.probes.layerwise.data import FeatureBatch
from plmdepth.probes.layerwise.evaluation import evaluate, evaluation_batches
from plmdepth.probes.layerwise.heads import LayerHeads
from plmdepth.probes.layerwise.logistic import Fit, Rows, fit_logistic
from plmdepth.probes.layerwise.ranking import Answer, LayerScores, answer_at
from plmdepth.proteins.protein import CANONICAL, Protein
from plmdepth.proteins.tasks.task import NOT_SCORED, Kind, Labelled, Part, Task
from plmdepth.randomness import keyed_generator

N_LETTERS = len(CANONICAL) + 1
"""The amino acids and, last, every other letter."""

_MOST_TARGETS = 20_000_000  # rows x classes that are fitted, in about half a minute
_NUMBERS = np.array([CANONICAL.find(chr(code)) % N_LETTERS for code in range(128)])


@dataclass(frozen=True)
class Composition:
    """The regression and what it reaches.

    Attributes:
        splits: its scores on every split but the one that it was fitted on, ``[1]`` where the heads' are ``[layer]``.
        strength: the penalty that validation chose.
        n_proteins: how many proteins it was fitted on.
    """

    splits: tuple[LayerScores, ...]
    strength: float
    n_proteins: int

    def facts(self) -> dict[str, Any]:
        """Return what a record says of it."""
        scores = {split.name: {name: _fact(score) for name, score in split.scores.items()} for split in self.splits}
        return {"strength": self.strength, "proteins": self.n_proteins, "scores": scores}

    def answers(self, heads: LayerScores, metric: str, layer: int) -> dict[str, Answer]:
        """Return its score on a split, and by how much the head of a layer is better, replicate by replicate.

        Args:
            heads: the scores of all heads on the split.
            metric: the main score.
            layer: the layer that validation chose.
        """
        (alone,) = (split.scores[metric] for split in self.splits if split.name == heads.name)
        pairs = zip(heads.scores[metric], alone, strict=True)
        both = Estimate(*(torch.stack([head[..., layer], other[..., 0]], dim=-1) for head, other in pairs))
        over = LayerScores(heads.name, {metric: both}, clusters=heads.clusters).gaps(metric)
        return {
            f"{heads.name}_{metric}_composition": answer_at(alone, 0),
            f"{heads.name}_{metric}_over_composition": answer_at(over, 0),
        }


def measure_composition(task: Task, seed: int, n_replicates: int) -> Composition:
    """Fit the regression on train and score it on every other split.

    Args:
        task: the labelled proteins.
        seed: of the bootstrap, and of the proteins that are fitted where there are too many.
        n_replicates: bootstrap replicates.
    """
    train = _fitted(task, seed)
    train_rows, valid_rows = (_rows(members, task) for members in (train, task.splits["valid"]))
    fit = fit_logistic(train_rows, valid_rows, independent=task.kind == "multilabel")
    splits = tuple(LayerScores(part.name, _scores(fit, task, part, seed, n_replicates)) for part in task.parts)
    return Composition(splits, fit.strength, len(train))


def protein_features(protein: Protein) -> np.ndarray:
    """Return the fractions of all letters and the logarithm of the length, ``[feature]``."""
    return np.append(_fractions(protein), math.log(len(protein)))


def residue_features(protein: Protein) -> np.ndarray:
    """Return every residue's letter, one of 21, and the fractions of all letters, ``[residue, feature]``."""
    return _of_letters(protein, letters_of(protein))


def letters_of(protein: Protein) -> np.ndarray:
    """Return the number of every letter, ``[residue]``: alphabetical, and 20 for what is no amino acid.

    >>> letters_of(Protein("a", "ACYX")).tolist()
    [0, 1, 19, 20]
    """
    return _NUMBERS[np.frombuffer(protein.sequence.encode("ascii"), dtype=np.uint8)]


@dataclass(frozen=True)
class _Compositions:
    """Makes batches as those of the heads, of one layer."""

    labelled: Sequence[Labelled]
    kind: Kind

    def __call__(self, rows: Sequence[int]) -> FeatureBatch:
        parts = [self._part(self.labelled[row]) for row in rows]
        features = torch.from_numpy(np.concatenate([features for features, _ in parts]))
        return features[:, None], torch.from_numpy(np.concatenate([labels for _, labels in parts]))

    def _part(self, labelled: Labelled) -> tuple[np.ndarray, np.ndarray]:
        if self.kind != "residue":
            return protein_features(labelled.protein)[None], labelled.label[None]
        scored = labelled.label != NOT_SCORED
        return residue_features(labelled.protein)[scored], labelled.label[scored]


def _scores(fit: Fit, task: Task, part: Part, seed: int, n_replicates: int) -> Mapping[str, Estimate]:
    heads, labelled = LayerHeads(lambda *_: fit.head, 1, *fit.head.weight.T.shape), task.splits[part.split]
    batches = evaluation_batches(labelled, part.places, residues=False, tokens=0)
    scores = evaluate(heads, _Compositions(labelled, task.kind), labelled, task.kind, seed, n_replicates, batches)
    return {name: _of_one_layer(found) for name, found in scores.items()}


def _of_one_layer(found: Estimate) -> Estimate:
    """Return an estimate ``[1]``: torchmetrics drops the axis where there is one value."""
    value, low, high, n = (part.reshape(1) for part in found[:-1])
    return Estimate(value, low, high, n, found.replicates.reshape(-1, 1))


def _fitted(task: Task, seed: int) -> Sequence[Labelled]:
    """Return the proteins of train, or as many of them, drawn at random, as can be fitted."""
    train = task.splits["train"]
    rows_each = N_LETTERS if task.kind == "residue" else 1
    most = max(1, _MOST_TARGETS // (rows_each * len(task.classes)))
    if len(train) <= most:
        return train
    chosen = keyed_generator(seed, "composition", task.name).permutation(len(train))[:most]
    return [train[place] for place in sorted(chosen.tolist())]


def _rows(labelled: Sequence[Labelled], task: Task) -> Rows:
    """Return features and targets; residues of one protein with the same letter share a row."""
    make = {"residue": _residue_rows, "multiclass": _class_row, "multilabel": _terms_row}[task.kind]
    parts = [make(each, len(task.classes)) for each in labelled]
    features, targets = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Rows(torch.from_numpy(features), torch.from_numpy(targets))


def _terms_row(labelled: Labelled, n_classes: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG001 (as the others)
    return protein_features(labelled.protein)[None], labelled.label[None].astype(np.float64)


def _class_row(labelled: Labelled, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    return protein_features(labelled.protein)[None], (np.arange(n_classes) == labelled.label)[None].astype(np.float64)


def _residue_rows(labelled: Labelled, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    scored = labelled.label != NOT_SCORED
    cells = letters_of(labelled.protein)[scored] * n_classes + labelled.label[scored]
    counts = np.bincount(cells, minlength=N_LETTERS * n_classes).reshape(N_LETTERS, n_classes).astype(np.float64)
    present = np.flatnonzero(counts.sum(1))
    return _of_letters(labelled.protein, present), counts[present]


def _of_letters(protein: Protein, letters: np.ndarray) -> np.ndarray:
    """Return features of residues with these letters in a protein."""
    fractions = np.broadcast_to(_fractions(protein), (len(letters), N_LETTERS))
    return np.concatenate([np.eye(N_LETTERS)[letters], fractions], axis=1)


def _fractions(protein: Protein) -> np.ndarray:
    return np.bincount(letters_of(protein), minlength=N_LETTERS) / len(protein)


def _fact(score: Estimate) -> dict[str, Any]:
    value, interval = answer_at(score, 0)
    return {"value": value, "interval": interval}
