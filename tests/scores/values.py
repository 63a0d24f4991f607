"""Scores of whole data sets at once, without a bootstrap, for tests."""

import torch
from torch import Tensor

from plmdepth.scores.class_scores import accuracy_of, class_counts, macro_accuracy_of, mcc_of
from plmdepth.scores.f1_max import THRESHOLDS, F1Max
from plmdepth.scores.selective import weighted_aurc, weighted_excess_aurc


def accuracy(probabilities: Tensor, labels: Tensor) -> Tensor:
    return accuracy_of(_pooled(probabilities, labels))


def macro_accuracy(probabilities: Tensor, labels: Tensor) -> Tensor:
    return macro_accuracy_of(_pooled(probabilities, labels))


def mcc(probabilities: Tensor, labels: Tensor) -> Tensor:
    return mcc_of(_pooled(probabilities, labels))


def _pooled(probabilities: Tensor, labels: Tensor) -> Tensor:
    return class_counts(probabilities, labels, torch.zeros_like(labels), 1)[0]


def weighted_f1_max(probabilities: Tensor, targets: Tensor, weights: Tensor, thresholds: Tensor = THRESHOLDS) -> Tensor:
    metric = F1Max(len(probabilities), len(weights), thresholds)
    metric.update(probabilities, targets, weights)
    return metric.compute().score.replicates


def f1_max(probabilities: Tensor, targets: Tensor, thresholds: Tensor = THRESHOLDS) -> Tensor:
    metric = F1Max(len(probabilities), 0, thresholds)
    metric.update(probabilities, targets)
    return metric.compute().score.value


def aurc(confidence: Tensor, loss: Tensor) -> Tensor:
    return weighted_aurc(confidence, loss, torch.ones(1, confidence.shape[-1]))[0]


def excess_aurc(confidence: Tensor, loss: Tensor) -> Tensor:
    return weighted_excess_aurc(confidence, loss, torch.ones(1, confidence.shape[-1]))[0]
