"""Decomposition of attention: one layer's heads after the other, against one solution a head, and against the scores.

The other way is written from the description of the published one: for every head the sums along diagonals, rows and
columns and one solution of a dense system of 4n - 1 equations, factorised once (the published code does so for every
head, which is timed too, without its sums).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.linalg import lu_factor, lu_solve
from timing import interleaved, report
from torch import Tensor

from plmdepth.language_models.attention_scores import attention_scores
from plmdepth.metrics.additive_scores import ScoreSums, published_matrix, score_sums
from plmdepth.metrics.attention_decomposition import head_values

HEADS, LAYERS, TOKENS, WIDTH = 20, 30, 512, 64


def compute_scores(query: Tensor, key: Tensor) -> Callable[[], Any]:
    """Return the computation of all layers' scores as the stack hands them out, one layer in memory at a time."""

    def work() -> None:
        for _ in range(LAYERS):
            attention_scores(query @ key.transpose(-1, -2) * WIDTH**-0.5)

    return work


def ours(layer: Tensor) -> Callable[[], Tensor]:
    """Return the decomposition of all layers, from scores that are there."""
    return lambda: head_values(ScoreSums.joined([score_sums(layer, causal=False) for _ in range(LAYERS)]), "detrended")


def one_by_one(layer: Tensor, heads: int) -> Callable[[], list[float]]:
    """Return the published way over some heads."""
    matrices = [head.double().numpy() for head in layer[:heads]]
    factor = lu_factor(published_matrix(TOKENS).numpy())

    def work() -> list[float]:
        ratios = []
        for scores in matrices:
            diagonals = [scores.diagonal(-distance).sum() for distance in range(1 - TOKENS, TOKENS)]
            solution = lu_solve(factor, np.concatenate([diagonals, scores.sum(0), scores.sum(1)]))
            a, b = solution[: 2 * TOKENS - 1], solution[2 * TOKENS - 1 : 3 * TOKENS - 1]
            ratios.append(float(a.var(ddof=1) / b.var(ddof=1)))
        return ratios

    return work


def as_published(layer: Tensor, heads: int) -> Callable[[], None]:
    """Return what the published code does over some heads: the system is solved anew for each."""
    matrix, sums = published_matrix(TOKENS).numpy(), score_sums(layer[:heads], causal=False)
    right = torch.cat([sums.diagonals, sums.columns, sums.rows], dim=-1).numpy()

    def work() -> None:
        for each in right:
            np.linalg.solve(matrix, each)

    return work


def measure() -> dict[str, Any]:
    """Return the seconds of each way for all heads, and their ratios; the published way is timed on one layer."""
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, HEADS, TOKENS, WIDTH, generator=generator) for _ in range(2))
    layer = (query @ key.transpose(-1, -2) * WIDTH**-0.5)[0]
    works = {
        "scores": compute_scores(query, key),
        "ours": ours(layer),
        "cached_one_layer": one_by_one(layer, HEADS),
        "anew_two_heads": as_published(layer, 2),
    }
    seconds = interleaved(works, rounds=3)
    return {
        "heads": HEADS * LAYERS,
        "tokens": TOKENS,
        **seconds,
        "over_scores": seconds["ours"] / seconds["scores"],
        "faster_than_cached": seconds["cached_one_layer"] * LAYERS / seconds["ours"],
        "faster_than_published_code": seconds["anew_two_heads"] * HEADS * LAYERS / 2 / seconds["ours"],
    }


if __name__ == "__main__":
    report("attention", "Decomposition of attention", [measure()])
