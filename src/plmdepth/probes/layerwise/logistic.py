"""Logistic regression to convergence: full batch, double precision, its penalty chosen on validation.

With features x (standardised on the training items), weights W and biases b, ``z = W x + b``, it minimises

    mean over items of (A(z) - t.z) + strength / 2 |W|^2,

where t is 1 for the true class or classes, ``A(z) = log sum_c exp z_c`` for one label of many (the multinomial
model) and ``A(z) = sum_c log(1 + exp z_c)`` for labels that are independent (one regression a class, side by side).
Biases are not penalised. ``sum t.z`` needs the sums of x over each class alone, so that a step reads the features once.
Minimised by L-BFGS (Liu and Nocedal 1989) from the strongest penalty to the weakest, each from the solution before.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Penalties that are tried, the strongest first."""

_STEPS = 100  # of a penalty
_VALUES_AT_ONCE = 100_000  # logits, so that they stay in the processor's cache


class Rows(NamedTuple):
    """Items with their labels; equal items may share a row.

    Attributes:
        features: ``[row, feature]``, double precision.
        targets: how many items of the row are of each class, ``[row, class]``, double precision.
    """

    features: Tensor
    targets: Tensor


class LogisticHead(nn.Module):
    """Reads logits ``[row, class]`` off features ``[row, feature]`` as they are.

    Args:
        weight: ``[class, feature]``.
        bias: ``[class]``; infinite for a class that was always or never true in training.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits."""
        return features @ self.weight.T + self.bias


class Fit(NamedTuple):
    """A fitted regression.

    Attributes:
        head: what reads it off features.
        strength: the penalty that validation chose.
    """

    head: LogisticHead
    strength: float


def fit_logistic(train: Rows, valid: Rows, *, independent: bool) -> Fit:
    """Fit with every penalty until the loss on validation no longer falls; return the one with the lowest.

    Args:
        train: what is fitted.
        valid: what the penalty is chosen on.
        independent: whether a row may be of several classes or none.
    """
    answers = _constant_answers(train, independent)
    learnt = answers.isnan()
    with _one_thread():
        mean, scale = _standard(train.features, _weights(train, independent))
        known, held_out = (_standardised(rows, learnt, mean, scale) for rows in (train, valid))
        fitted, strength = _path(_Problem(known, independent), _Problem(held_out, independent))
    weight = torch.zeros(len(learnt), len(mean), dtype=torch.float64)
    weight[learnt] = fitted[:, :-1] / scale
    bias = answers.clone()
    bias[learnt] = fitted[:, -1] - weight[learnt] @ mean
    return Fit(LogisticHead(weight, bias), strength)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread: for the same numbers on any machine, and as steps this small gain nothing from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class _Problem:
    """The loss of some rows; parameters are ``[class, feature + 1]``, and the last feature is 1."""

    rows: Rows
    independent: bool

    @cached_property
    def weights(self) -> Tensor:
        """How many items of the classes that are learnt each row stands for, ``[row]``."""
        return _weights(self.rows, self.independent)

    def loss(self, parameters: Tensor) -> float:
        """Return the mean loss of an item without the penalty."""
        value, _ = self.partition(parameters)
        return float(value - (parameters * self.sums).sum()) / float(self.weights.sum().clamp(min=1))

    @cached_property
    def sums(self) -> Tensor:
        """Return the features summed over the items of every class, ``[class, feature + 1]``."""
        return self.rows.targets.T @ self.rows.features

    def partition(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return A(z) summed over items, and its gradient: the features weighted with what is predicted."""
        total, gradient = parameters.new_zeros(()), torch.zeros_like(parameters)
        size = max(1, _VALUES_AT_ONCE // max(1, len(parameters)))
        for features, weights in zip(self.rows.features.split(size), self.weights.split(size), strict=True):
            logits = features @ parameters.T
            total += softplus(logits).sum() if self.independent else weights @ logits.logsumexp(1)
            predicted = logits.sigmoid() if self.independent else logits.softmax(1) * weights[:, None]
            gradient.addmm_(predicted.T, features)
        return total, gradient


@torch.no_grad()
def _path(train: _Problem, valid: _Problem) -> tuple[Tensor, float]:
    """Return the best parameters on validation and their penalty."""
    parameters, best, lowest = _start(train), None, math.inf
    for strength in STRENGTHS:
        parameters = _minimised(train, parameters, strength)
        loss = valid.loss(parameters)
        if best is not None and not loss < lowest:
            break
        best, lowest = (parameters, strength), loss
    assert best is not None
    return best


def _start(problem: _Problem) -> Tensor:
    """Return no weights, and the biases that predict how often each class is true."""
    targets = problem.rows.targets
    parameters = torch.zeros(targets.shape[1], problem.rows.features.shape[1], dtype=torch.float64)
    true = targets.sum(0)
    parameters[:, -1] = true.log() - ((len(targets) - true).log() if problem.independent else 0)
    return parameters


def _minimised(problem: _Problem, start: Tensor, strength: float) -> Tensor:
    parameters = start.clone()
    if not len(parameters):
        return parameters
    sums, n = problem.sums, problem.weights.sum()
    optimizer = torch.optim.LBFGS(
        [parameters], max_iter=_STEPS, tolerance_grad=1e-7, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        value, gradient = problem.partition(parameters)
        penalised = parameters.clone()
        penalised[:, -1] = 0
        parameters.grad = (gradient - sums) / n + strength * penalised
        return float((value - (parameters * sums).sum()) / n + strength / 2 * penalised.square().sum())

    optimizer.step(closure)
    return parameters


def _constant_answers(rows: Rows, independent: bool) -> Tensor:
    """Return the logit of every class that needs no fit, as all items say the same of it; NaN of the others."""
    true = rows.targets.sum(0)
    answers = torch.where(true == 0, -math.inf, math.nan).double()
    return torch.where(true == len(rows.targets), math.inf, answers) if independent else answers


def _weights(rows: Rows, independent: bool) -> Tensor:
    """Return how many items each row stands for, ``[row]``."""
    return torch.ones(len(rows.targets), dtype=torch.float64) if independent else rows.targets.sum(1)


def _standard(features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of every feature over items, 1 for one that does not vary."""
    shares = weights / weights.sum()
    mean = shares @ features
    deviation = (shares @ (features - mean).square()).sqrt()
    return mean, torch.where(deviation > 1e-9, deviation, 1.0)


def _standardised(rows: Rows, learnt: Tensor, mean: Tensor, scale: Tensor) -> Rows:
    """Return standardised features with a 1 beside them, and the targets of the classes that are learnt."""
    features = (rows.features - mean) / scale
    return Rows(torch.cat([features, torch.ones(len(features), 1).double()], dim=1), rows.targets[:, learnt])
