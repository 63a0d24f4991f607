"""Integrals of a gradient along a straight line of states, with most nodes where the score changes most.

In a trained model a score may jump within a hundredth of the line, where a rule for the whole line wastes its nodes. So
the line is cut into intervals with few Gauss-Legendre nodes each. On every interval the attributions must add up to the
change of the score between its ends, which is known: where they do not, it is halved.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

NODES_PER_INTERVAL = 4
LEAST_CHANGE = 1e-3  # of a probability: below it, an error is no longer judged by its share
_LEFT = 0.1  # of the error is in intervals that are not halved yet: nodes go where most of it is
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(NODES_PER_INTERVAL)  # of the interval -1..1


class Attribution(NamedTuple):
    """What the integral along one line gave.

    Attributes:
        tokens: the attribution of every position, ``[token]``, double precision.
        error: ``|sum of attributions - change| / max(|change|, 0.001)``, where change is that of the score.
        nodes: number of nodes of the integral.
    """

    tokens: Tensor
    error: float
    nodes: int


@dataclass(frozen=True)
class Line:
    """The states ``b + a (h - b)`` for a in 0..1, all tokens together, and a score F of a state.

    Attributes:
        start: b, ``[token, feature]``.
        end: h, ``[token, feature]``.
        score: from states ``[row, token, feature]`` to F of each, ``[row]``.
        gradients: from states to ``dF/dh`` at each, ``[row, token, feature]``.
        most: most states that are differentiated at once.
    """

    start: Tensor
    end: Tensor
    score: Callable[[Tensor], Tensor]
    gradients: Callable[[Tensor], Tensor]
    most: int = 8

    @property
    def change(self) -> Tensor:
        """``h - b``, ``[token, feature]``, double precision."""
        return self.end.double() - self.start.double()

    def scores(self, shares: Tensor) -> Tensor:
        """Return F at shares of the line, ``[share]``, double precision."""
        return torch.cat([self.score(self._at(chunk)) for chunk in shares.split(self.most)]).double()

    def attributions(self, low: Tensor, high: Tensor) -> Tensor:
        """Integrate over intervals: ``sum over features of (h - b) * integral from low to high of dF/dh da``.

        Args:
            low: where the intervals begin, a share of the line, ``[interval]``.
            high: where they end, ``[interval]``.

        Returns:
            ``[interval, token]``, in the unit of F, double precision.
        """
        points, weights = (torch.from_numpy(x).to(low) for x in (_POINTS, _WEIGHTS))
        half = (high - low)[:, None] / 2
        shares = (low[:, None] + half * (1 + points)).flatten()
        change = self.change
        slopes = torch.cat(
            [
                torch.einsum("ntf,tf->nt", self.gradients(self._at(chunk)).double(), change)
                for chunk in shares.split(self.most)
            ]
        )
        return torch.einsum("in,int->it", half * weights, slopes.view(len(low), NODES_PER_INTERVAL, -1))

    def _at(self, shares: Tensor) -> Tensor:
        return (self.start.double() + shares[:, None, None] * self.change).to(self.end.dtype)


class _Intervals(NamedTuple):
    """Intervals of a line: their ends, F at both, ``[interval]``, and attributions, ``[interval, token]``."""

    low: Tensor
    high: Tensor
    score_low: Tensor
    score_high: Tensor
    tokens: Tensor

    @property
    def errors(self) -> Tensor:
        """How far the attributions of each interval are from the change of F along it, ``[interval]``."""
        return (self.tokens.sum(-1) - (self.score_high - self.score_low)).abs()

    def where(self, kept: Tensor) -> "_Intervals":
        return _Intervals(*(x[kept] for x in self))

    def __add__(self, other: "_Intervals") -> "_Intervals":  # type: ignore[override]
        return _Intervals(*(torch.cat(pair) for pair in zip(self, other, strict=True)))


def integrate(line: Line, nodes: int = 16, max_nodes: int = 128, tolerance: float = 0.01) -> Attribution:
    """Attribute the change of the score along a line to positions, halving intervals until all of it is accounted for.

    The errors of all intervals together, each taken as positive, end at or below the tolerance: errors that cancel
    between intervals do not count as accuracy. So ``error``, which lets them cancel, is within it too. Errors of
    positions can still cancel within an interval, by chance: the more intervals there are to start with, the less.

    Args:
        line: the line and the score.
        nodes: nodes to start with, a multiple of 4: that many quarters of equal intervals.
        max_nodes: most nodes of the integral, a multiple of 4; reached when the tolerance is not.
        tolerance: largest error, as a share of the change of the score (of 0.001 if it is smaller).
    """
    edges = torch.linspace(0, 1, nodes // NODES_PER_INTERVAL + 1, dtype=torch.float64, device=line.end.device)
    scores = line.scores(edges)
    intervals = _measured(line, edges[:-1], edges[1:], scores[:-1], scores[1:])
    change = float(scores[-1] - scores[0])
    scale = max(abs(change), LEAST_CHANGE)
    while True:
        split = _to_split(intervals.errors, tolerance * scale, max_nodes // NODES_PER_INTERVAL - len(intervals.low))
        if not bool(split.any()):
            break
        intervals = intervals.where(~split) + _halved(line, intervals.where(split))
    tokens = intervals.tokens.sum(0)
    error = abs(float(tokens.sum()) - change) / scale
    return Attribution(tokens, error, NODES_PER_INTERVAL * len(intervals.low))


def _to_split(errors: Tensor, allowed: float, room: int) -> Tensor:
    """Return which intervals to halve, ``[interval]``: none if their errors are allowed, else the worst of them."""
    split = torch.zeros_like(errors, dtype=torch.bool)
    total = float(errors.sum())
    if total > allowed and room > 0:
        left = max(allowed / 2, total * _LEFT)  # the other half of what is allowed is for the new intervals
        ascending = errors.argsort()
        worst = ascending[errors[ascending].cumsum(0) > left]
        split[worst[-room:]] = True
    return split


def _halved(line: Line, intervals: _Intervals) -> _Intervals:
    low, high, score_low, score_high, _ = intervals
    middle = (low + high) / 2
    score_middle = line.scores(middle)
    ends = (low, middle), (middle, high), (score_low, score_middle), (score_middle, score_high)
    return _measured(line, *(torch.cat(pair) for pair in ends))


def _measured(line: Line, low: Tensor, high: Tensor, score_low: Tensor, score_high: Tensor) -> _Intervals:
    return _Intervals(low, high, score_low, score_high, line.attributions(low, high))
