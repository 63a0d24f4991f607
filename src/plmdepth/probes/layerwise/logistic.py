"""Logistic regression to convergence: full batch, its penalty chosen on validation.

With features x (standardised on the training items), weights W and biases b, ``z = W x + b``, it minimises

    mean over items of (A(z) - t.z) + strength / 2 |W|^2,

where t is 1 for the true class or classes, ``A(z) = log sum_c exp z_c`` for one label of many (the multinomial
model) and ``A(z) = sum_c log(1 + exp z_c)`` for labels that are independent (one regression a class, side by side).
Biases are not penalised. ``sum t.z`` needs the sums of x over each class alone, so that a step reads the features once.
Minimised by L-BFGS (Liu and Nocedal 1989) from the strongest penalty to the weakest, each from the solution before, in
coordinates in which the curvature is about one in every direction: weights are ``U R^-1`` with ``R R^T`` the second
moments of x times the mean of ``p (1 - p)``, plus the penalty. Steps end where no derivative by U is above 1e-3 for a
penalty that is tried, and above 1e-7 (1e-4 for features in single precision) for the one that is kept; the fit has
converged if none is above 1e-4. Parameters and sums are in double precision, products in that of the features, and in
double precision for the penalty that is kept. scikit-learn's ``LogisticRegression`` has the same minimum with
``C = 1 / (items * strength)``, but knows no rows that stand for several items, takes each penalty from the beginning
and runs on no accelerator.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.linalg import solve_triangular
from torch.nn.functional import softplus

STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Penalties that are tried, the strongest first."""

_STEPS = 100  # of a penalty that is tried
_MOST_STEPS = 1000  # of the one that is kept
_TRIED = 1e-3  # no derivative is above it where a penalty is tried,
_KEPT = {torch.float32: 1e-4, torch.float64: 1e-7}  # and where it is kept
_CONVERGED = 1e-4  # none above it: the loss is within about 1e-6 nats of its minimum
_SMALL = 2**22  # features that one thread reads
_MOST_MOMENTS = 8192  # rows whose second moments shape the steps, and decide no number
_ROWS_AT_ONCE = 8192  # in double precision, whatever the features are
_VALUES_AT_ONCE = 2**18  # features or logits, so that they stay in the processor's cache


class Rows(NamedTuple):
    """Items with their labels; equal items may share a row.

    Attributes:
        features: ``[row, feature]``, single or double precision.
        targets: how many items of the row are of each class, ``[row, class]``.
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
        converged: whether the fit came to its end.
        train_loss: mean loss of an item without the penalty, nats.
        valid_loss: the same on validation.
    """

    head: LogisticHead
    strength: float
    converged: bool
    train_loss: float
    valid_loss: float


def fit_logistic(train: Rows, valid: Rows, *, independent: bool) -> Fit:
    """Fit with every penalty until the loss on validation no longer falls; return the one with the lowest.

    Args:
        train: what is fitted.
        valid: what the penalty is chosen on.
        independent: whether a row may be of several classes or none.
    """
    answers = _constant_answers(train, independent)
    learnt = answers.isnan()
    with _one_thread() if train.features.numel() <= _SMALL else nullcontext():
        mean, scale = standard(train.features, _weights(train, independent))
        known, held_out = (_Problem(_standardised(rows, learnt, mean, scale), independent) for rows in (train, valid))
        fitted, strength = _path(known, held_out)
        close = _KEPT[known.rows.features.dtype]
        fitted, converged = _minimised(replace(known, exact=True), fitted, strength, _MOST_STEPS, close)
        losses = known.loss(fitted), held_out.loss(fitted)
    weight = torch.zeros(len(learnt), len(mean), dtype=torch.float64, device=mean.device)
    weight[learnt] = fitted[:, :-1] / scale
    bias = answers.clone()
    bias[learnt] = fitted[:, -1] - weight[learnt] @ mean
    return Fit(LogisticHead(weight, bias), strength, converged, *losses)


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
    exact: bool = False  # products in double precision too: single precision does not find the minimum

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
        total = self.empty()
        for rows in self._blocks():
            features = self.rows.features[rows].double()
            total += self.rows.targets[rows].to(features).T @ features
        return total

    def partition(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return A(z) summed over items, and its gradient: the features weighted with what is predicted."""
        total, gradient = parameters.new_zeros(()), torch.zeros_like(parameters)
        known = parameters if self.exact else parameters.to(self.rows.features)
        for rows in self._blocks():
            features, weights = self.rows.features[rows].to(known), self.weights[rows].to(known)
            logits = features @ known.T
            total += (softplus(logits) if self.independent else weights * logits.logsumexp(1)).sum()
            predicted = logits.sigmoid() if self.independent else logits.softmax(1) * weights[:, None]
            gradient += predicted.T @ features
        return total, gradient

    @cached_property
    def moments(self) -> Tensor:
        """Return the second moments of the features over some of the rows, ``[feature + 1, feature + 1]``."""
        some = slice(None, None, -(-len(self.weights) // _MOST_MOMENTS))
        features, weights = self.rows.features[some], self.weights[some]
        return (features.T @ (features * (weights / weights.sum().clamp(min=1))[:, None].to(features))).double()

    def root(self, parameters: Tensor, strength: float) -> Tensor:
        """Return the lower Cholesky factor of about the curvature at these parameters, of any one class."""
        some = slice(None, None, -(-len(self.weights) // _MOST_MOMENTS))
        logits = self.rows.features[some] @ parameters.to(self.rows.features).T
        predicted = logits.sigmoid() if self.independent else logits.softmax(1)
        bend = float((predicted * (1 - predicted)).mean().clamp(min=1e-6))
        moments = bend * self.moments
        moments.diagonal().add_(strength)
        return torch.linalg.cholesky(moments)

    def empty(self) -> Tensor:
        """Return parameters of zero."""
        shape = self.rows.targets.shape[1], self.rows.features.shape[1]
        return torch.zeros(shape, dtype=torch.float64, device=self.rows.features.device)

    def _blocks(self) -> Iterator[slice]:
        n, width = self.rows.features.shape
        size = max(1, _VALUES_AT_ONCE // max(width, self.rows.targets.shape[1]))
        yield from (slice(start, start + size) for start in range(0, n, size))


@torch.no_grad()
def _path(train: _Problem, valid: _Problem) -> tuple[Tensor, float]:
    """Return the best parameters on validation and their penalty."""
    parameters, best, lowest = _start(train), None, math.inf
    for strength in STRENGTHS:
        parameters, _ = _minimised(train, parameters, strength, _STEPS, _TRIED)
        loss = valid.loss(parameters)
        if best is not None and not loss < lowest:
            break
        best, lowest = (parameters, strength), loss
    assert best is not None
    return best


def _start(problem: _Problem) -> Tensor:
    """Return no weights, and the biases that predict how often each class is true."""
    parameters, targets = problem.empty(), problem.rows.targets
    true = targets.sum(0, dtype=torch.float64)
    parameters[:, -1] = true.log() - ((len(targets) - true).log() if problem.independent else 0)
    return parameters


@torch.no_grad()
def _minimised(problem: _Problem, start: Tensor, strength: float, steps: int, close: float) -> tuple[Tensor, bool]:
    """Return the parameters once no derivative is above ``close``, or after ``steps``, and whether they converged."""
    if not len(start):
        return start, True
    sums, n, root = problem.sums, problem.weights.sum(), problem.root(start, strength)
    free = start @ root
    optimizer = torch.optim.LBFGS(
        [free], max_iter=steps, tolerance_grad=close, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        parameters = solve_triangular(root, free, upper=False, left=False)
        value, gradient = problem.partition(parameters)
        penalised = parameters.clone()
        penalised[:, -1] = 0
        slope = (gradient - sums) / n + strength * penalised
        free.grad = solve_triangular(root.T, slope, upper=True, left=False).contiguous()
        return float((value - (parameters * sums).sum()) / n + strength / 2 * penalised.square().sum())

    optimizer.step(closure)
    closure()
    assert free.grad is not None
    return solve_triangular(root, free, upper=False, left=False), float(free.grad.abs().max()) <= _CONVERGED


def _constant_answers(rows: Rows, independent: bool) -> Tensor:
    """Return the logit of every class that needs no fit, as all items say the same of it; NaN of the others."""
    true = rows.targets.sum(0, dtype=torch.float64)
    answers = torch.where(true == 0, -math.inf, math.nan).double()
    return torch.where(true == len(rows.targets), math.inf, answers) if independent else answers


def _weights(rows: Rows, independent: bool) -> Tensor:
    """Return how many items each row stands for, ``[row]``."""
    counts = rows.targets.sum(1, dtype=torch.float64)
    return torch.ones_like(counts) if independent else counts


def standard(features: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of every feature over items, 1 for one that does not vary.

    Args:
        features: ``[row, feature]``.
        weights: how many items each row stands for, ``[row]``; None for one.
    """
    known = torch.ones(len(features), dtype=torch.float64, device=features.device) if weights is None else weights
    shares = known / known.sum()
    mean, square = (torch.zeros(features.shape[1], dtype=torch.float64, device=features.device) for _ in range(2))
    for part, share in _parts(features, shares):
        mean += share @ part
    for part, share in _parts(features, shares):
        square += share @ (part - mean).square()
    deviation = square.sqrt()
    return mean, torch.where(deviation > 1e-9, deviation, 1.0)


def _parts(features: Tensor, shares: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield some rows at once, in double precision."""
    for part, share in zip(features.split(_ROWS_AT_ONCE), shares.split(_ROWS_AT_ONCE), strict=True):
        yield part.double(), share


def _standardised(rows: Rows, learnt: Tensor, mean: Tensor, scale: Tensor) -> Rows:
    """Return standardised features with a 1 beside them, and the targets of the classes that are learnt."""
    features = rows.features.new_ones(len(rows.features), len(mean) + 1)
    for start in range(0, len(features), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        features[part, :-1] = ((rows.features[part] - mean) / scale).to(features)
    return Rows(features, rows.targets[:, learnt])
