"""The scores again, written for clarity: loops, double precision, one layer at a time."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from plmdepth.metrics.accumulators import bootstrap_weights
from plmdepth.proteins.protein import Protein


def proteins(n: int) -> list[Protein]:
    return [Protein(f"p{i}", "MK" + "A" * i) for i in range(n)]


def weights(n: int, n_replicates: int, seed: int = 0) -> Tensor:
    return bootstrap_weights(proteins(n), seed, n_replicates)


def multilabel(
    n_layers: int = 3, n_proteins: int = 12, n_terms: int = 5, seed: int = 0, grid: int = 20
) -> tuple[Tensor, Tensor]:
    """Return probabilities with many ties (multiples of 1 / grid) and targets; the last term has no positive."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.rand(n_proteins, n_terms, generator=generator) < 0.4
    targets[:, -1] = False
    known = torch.rand(n_layers, n_proteins, n_terms, generator=generator)
    return ((0.5 * known + 0.4 * targets) * grid).round() / grid, targets


def multiclass(n_layers: int = 3, n_items: int = 40, n_classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return probabilities and labels, some of which are not scored."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, n_classes, (n_items,), generator=generator)
    logits = torch.randn(n_layers, n_items, n_classes, generator=generator)
    logits[:, labels >= 0] += torch.nn.functional.one_hot(labels[labels >= 0], n_classes)
    return logits.softmax(-1), labels


def f1_max(probabilities: Tensor, targets: Tensor, thresholds: Sequence[float]) -> float:
    best = 0.0
    for threshold in thresholds:
        precisions, recalls = [], []
        for row, true in zip(probabilities, targets, strict=True):
            chosen = [c for c in range(len(row)) if row[c] >= torch.tensor(threshold, dtype=torch.float32)]
            hits = sum(bool(true[c]) for c in chosen)
            if chosen:
                precisions.append(hits / len(chosen))
            if true.any():
                recalls.append(hits / int(true.sum()))
        if not recalls:
            return math.nan
        precision, recall = float(np.mean(precisions)) if precisions else 0.0, float(np.mean(recalls))
        if precision + recall > 0:
            best = max(best, 2 * precision * recall / (precision + recall))
    return best


def average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    """Return sum over distinct scores, from high to low, of the gain in recall times the precision."""
    if not targets.any():
        return math.nan
    area = recall = 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        chosen = scores >= threshold
        hits = int(targets[chosen].sum())
        area += (hits / targets.sum() - recall) * hits / chosen.sum()
        recall = hits / targets.sum()
    return float(area)


def auprc_macro(probabilities: Tensor, targets: Tensor) -> float:
    terms = [c for c in range(targets.shape[1]) if targets[:, c].any()]
    values = [average_precision(probabilities[:, c].numpy(), targets[:, c].numpy()) for c in terms]
    return float(np.mean(values)) if values else math.nan


def auprc_micro(probabilities: Tensor, targets: Tensor) -> float:
    return average_precision(probabilities.numpy().ravel(), targets.numpy().ravel())


def aurc(confidence: Tensor, loss: Tensor) -> float:
    risks = [
        np.mean([float(lost) for sure, lost in zip(confidence, loss, strict=True) if sure >= c]) for c in confidence
    ]
    return float(np.mean(risks)) if risks else math.nan


def oracle(loss: Tensor) -> float:
    ranked = sorted(loss.tolist())
    return float(np.mean([np.mean(ranked[: i + 1]) for i in range(len(ranked))])) if ranked else math.nan


def confusion(probabilities: Tensor, labels: Tensor) -> np.ndarray:
    """Return counts, row the true class, column the predicted one."""
    matrix = np.zeros((probabilities.shape[1],) * 2)
    for row, label in zip(probabilities, labels, strict=True):
        if label >= 0:
            matrix[int(label), max(range(len(row)), key=lambda c: float(row[c]))] += 1
    return matrix


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    matrix = confusion(probabilities, labels)
    return float(np.trace(matrix) / matrix.sum()) if matrix.sum() else math.nan


def macro_accuracy(probabilities: Tensor, labels: Tensor) -> float:
    matrix = confusion(probabilities, labels)
    recalls = [matrix[c, c] / matrix[c].sum() for c in range(len(matrix)) if matrix[c].sum()]
    return float(np.mean(recalls)) if recalls else math.nan


def mcc(probabilities: Tensor, labels: Tensor) -> float:
    """Return the correlation of one-hot labels and one-hot predictions, class by class (Gorodkin 2004)."""
    matrix = confusion(probabilities, labels)
    if not matrix.sum():
        return math.nan
    pairs = [(t, p) for t in range(len(matrix)) for p in range(len(matrix)) for _ in range(int(matrix[t, p]))]
    true, predicted = (np.eye(len(matrix))[list(side)] for side in zip(*pairs, strict=True))
    true, predicted = true - true.mean(0), predicted - predicted.mean(0)
    spread = math.sqrt((true**2).sum() * (predicted**2).sum())
    return float((true * predicted).sum() / spread) if spread > 0 else 0.0


def repeated(weighting: Tensor) -> Tensor:
    """Return the indices of proteins, each as often as its weight says."""
    return torch.arange(len(weighting)).repeat_interleave(weighting.long())
