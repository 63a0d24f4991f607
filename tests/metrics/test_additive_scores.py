"""The fast fit of attention scores against numpy's least squares, and planted scores."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from plmdepth.metrics.additive_scores import (
    AdditiveFit,
    correlation,
    detrended_variance,
    least_squares,
    min_norm,
    published,
    published_matrix,
    score_sums,
    slope,
    sums_of_fit,
)
from plmdepth.metrics.attention_decomposition import Estimator, head_values

SIZES = [4, 5, 9, 16, 33, 64]
BOTH = pytest.mark.parametrize("causal", [False, True])


def random_scores(n: int, n_heads: int = 3) -> Tensor:
    """Return scores with a level, a trend and all three parts, in double precision."""
    generator = torch.Generator().manual_seed(n)
    noise = torch.randn(n_heads, n, n, generator=generator, dtype=torch.float64)
    keys = 2 * torch.randn(n_heads, 1, n, generator=generator, dtype=torch.float64)
    return noise + keys + 0.1 * torch.arange(n) - 5


def design(n: int, causal: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return one row a pair that may attend, one column a parameter of a, b and c, and the pairs."""
    first = 0 if causal else 1 - n
    pairs = [(i, j) for i in range(n) for j in range(n) if j <= i or not causal]
    matrix = np.zeros((len(pairs), n - first + 2 * n))
    for row, (i, j) in enumerate(pairs):
        for column in (i - j - first, n - first + j, n - first + n + i):
            matrix[row, column] = 1
    rows, columns = np.array(pairs).T
    return matrix, rows, columns


def reference(scores: Tensor, causal: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return a, b, c of least norm for one head, and the correlation of the fit, from numpy."""
    n = len(scores)
    matrix, rows, columns = design(n, causal)
    values = scores.numpy()[rows, columns]
    solution = np.linalg.lstsq(matrix, values, rcond=None)[0]
    a, b, c = np.split(solution, [matrix.shape[1] - 2 * n, matrix.shape[1] - n])
    return a, b, c, float(np.corrcoef(matrix @ solution, values)[0, 1])


def line_removed(values: np.ndarray) -> tuple[float, float]:
    """Return the variance about the line through values, and its slope."""
    number = np.arange(len(values))
    line = np.polynomial.Polynomial.fit(number, values, 1).convert().coef
    rest = values - line[0] - line[1] * number
    return float((rest**2).sum() / (len(values) - 2)), float(line[1])


@BOTH
@pytest.mark.parametrize("n", SIZES)
def test_the_fit_is_that_of_least_squares(n: int, causal: bool) -> None:
    scores = random_scores(n)
    sums = score_sums(scores, causal)
    fit = least_squares(sums)
    least = min_norm(fit)
    for head, matrix in enumerate(scores):
        a, b, c, r = reference(matrix, causal)
        for mine, theirs in ((least.a, a), (least.b, b), (least.c, c)):
            np.testing.assert_allclose(mine[head].numpy(), theirs, rtol=0, atol=1e-10)
        assert correlation(sums, fit)[head].item() == pytest.approx(r, abs=1e-10)
        assert correlation(sums, least)[head].item() == pytest.approx(r, abs=1e-10)


@BOTH
@pytest.mark.parametrize("n", SIZES)
def test_what_an_estimator_reads_is_what_it_says(n: int, causal: bool) -> None:
    scores = random_scores(n)
    values = {name: head_values(score_sums(scores, causal), name) for name in ("detrended", "min_norm")}
    for head, matrix in enumerate(scores):
        a, b, c, r = reference(matrix, causal)
        (positional, rise), (semantic, across) = line_removed(a), line_removed(b)
        slopes = (rise + line_removed(c)[1], across - rise)
        for name, first, second in (("detrended", positional, semantic), ("min_norm", a.var(ddof=1), b.var(ddof=1))):
            expected = (first, second, math.log(first / second), r, *slopes)
            np.testing.assert_allclose(values[name][:, head].numpy(), expected, rtol=1e-9, atol=1e-9)


@BOTH
def test_sums_of_a_fit_are_the_normal_matrix_times_it(causal: bool) -> None:
    n, generator = 7, torch.Generator().manual_seed(0)
    sizes = (n if causal else 2 * n - 1, n, n)
    a, b, c = (torch.randn(2, size, generator=generator, dtype=torch.float64) for size in sizes)
    matrix = torch.from_numpy(design(n, causal)[0])
    expected = torch.cat([a, b, c], dim=-1) @ matrix.T @ matrix
    torch.testing.assert_close(torch.cat(sums_of_fit(AdditiveFit(a, b, c, causal)), dim=-1), expected)


@BOTH
@pytest.mark.parametrize("direction", ["a to c", "b to c", "trend"])
def test_what_is_undetermined_changes_neither_the_least_fit_nor_detrended_numbers(causal: bool, direction: str) -> None:
    n = 12
    fit = least_squares(score_sums(random_scores(n), causal))
    number = torch.arange(n, dtype=torch.float64)
    distance = torch.arange(n - fit.a.shape[-1], n, dtype=torch.float64)
    a, b, c = {"a to c": (1 + 0 * distance, 0, -1), "b to c": (0, 1, -1), "trend": (distance, number, -number)}[
        direction
    ]
    moved = AdditiveFit(fit.a + 3 * a, fit.b + 3 * b, fit.c + 3 * c, causal)
    for mine, theirs in zip(
        (*sums_of_fit(moved), min_norm(moved).a, detrended_variance(moved.a), detrended_variance(moved.b)),
        (*sums_of_fit(fit), min_norm(fit).a, detrended_variance(fit.a), detrended_variance(fit.b)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(slope(moved.b) - slope(moved.a), slope(fit.b) - slope(fit.a))
    torch.testing.assert_close(slope(moved.a) + slope(moved.c), slope(fit.a) + slope(fit.c))


def planted(n: int) -> dict[str, Tensor]:
    """Return scores that are positional, by key, by query, a mixture, a trend, and constant, ``[n, n]``."""
    generator = torch.Generator().manual_seed(3)
    i, j = torch.arange(n)[:, None], torch.arange(n)
    curve = torch.exp(-((torch.arange(1 - n, n) / 3) ** 2)).double()
    positional = curve[i - j + n - 1]
    key, query = (torch.randn(n, generator=generator, dtype=torch.float64) for _ in range(2))
    by_key, by_query = key.expand(n, n), query[:, None].expand(n, n)
    trend = 0.01 * (i - j).double()
    mixture = positional + by_key + by_query + trend
    constant = torch.full((n, n), -7.3, dtype=torch.float64)
    return {"positional": positional, "key": by_key, "query": by_query, "all": mixture, "trend": trend} | {
        "constant": constant
    }


@BOTH
def test_planted_scores_are_read_as_planted(causal: bool) -> None:
    scores = planted(40)
    values = head_values(score_sums(torch.stack([*scores.values()]), causal), "detrended")
    read = {name: dict(zip("psratcu", column, strict=False)) for name, column in zip(scores, values.T, strict=True)}
    for name in ("positional", "key", "query", "all", "trend"):
        assert read[name]["a"].item() == pytest.approx(1), name  # reconstruction
    assert read["positional"]["s"] < 1e-20
    assert read["positional"]["r"] > 25
    assert read["key"]["p"] < 1e-20
    assert read["key"]["r"] < -25
    for name in ("query", "trend", "constant"):
        assert read[name]["p"] < 1e-20
        assert read[name]["s"] < 1e-20
        assert math.isnan(read[name]["r"])
    assert math.isnan(read["constant"]["a"])
    assert read["trend"]["t"].item() == pytest.approx(0.01)
    assert read["trend"]["c"].item() == pytest.approx(-0.01)
    for part, alone in (("p", "positional"), ("s", "key")):
        assert read["all"][part].item() == pytest.approx(read[alone][part].item())


def test_the_least_fit_calls_a_positional_trend_mostly_semantic() -> None:
    """What a convention can do: nothing but distance in the scores, and a ratio of a quarter."""
    n = 512
    values = head_values(score_sums(planted(n)["trend"][None], causal=False), "min_norm")
    assert values[2].exp().item() == pytest.approx(0.25, abs=0.01)


def published_by_hand(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Solve the published system for one head; a by distance from ``1 - n`` on.

    The equations are those of least squares but for what is marked as wrong.
    """
    n = len(scores)
    size = 4 * n - 1
    true, rows, columns = design(n, causal=False)
    matrix, right = true.T @ true, true.T @ scores[rows, columns]

    def a(d: int) -> int:
        return d + n - 1

    for j in range(n):  # wrong: without distance -1, and all others for the first key
        row = matrix[2 * n - 1 + j]
        if j == 0:
            row[: 2 * n - 1] = 1
        row[a(-1)] = 0
    for i in range(n):  # wrong: distances from i - n to -2 and from 0 to i - 1; -n is read as n - 1
        row = matrix[3 * n - 1 + i]
        row[: 2 * n - 1] = 0
        for d in [*range(i - n, -1), *range(i)]:
            row[a(d if d > -n else n - 1)] = 1
    solution = np.linalg.solve(matrix + 1e-6 * np.eye(size), right)
    found_a, b, c = np.split(solution, [2 * n - 1, 3 * n - 1])
    return found_a, b, c


@pytest.mark.parametrize("n", [4, 7, 24])
def test_the_published_system_is_solved_as_described(n: int) -> None:
    scores = random_scores(n)
    fit = published(score_sums(scores, causal=False))
    for head, matrix in enumerate(scores):
        a, b, c = published_by_hand(matrix.numpy())
        scale = max(abs(b).max(), 1)
        for mine, theirs in ((fit.a, a), (fit.b, b), (fit.c, c)):
            np.testing.assert_allclose(mine[head].numpy(), theirs, rtol=1e-4, atol=1e-6 * scale)


def test_the_published_system_is_not_that_of_least_squares() -> None:
    """It fits well and reads another ratio, the more so for local heads."""
    n = 512
    scores = -((torch.arange(n)[:, None] - torch.arange(n)).double() ** 2) / 8
    local = scores.softmax(-1)[None]
    sums = score_sums(local, causal=False)
    detrended, theirs = head_values(sums, "detrended"), head_values(sums, "published")
    assert theirs[3].item() > 0.99 * detrended[3].item()
    assert theirs[2].exp().item() < detrended[2].exp().item() / 100


def test_the_published_matrix_differs_in_the_rows_of_b_and_c_alone() -> None:
    n = 6
    true = design(n, causal=False)[0]
    difference = (published_matrix(n).numpy() - true.T @ true).round(5)  # without the ridge
    assert not difference[: 2 * n - 1].any()
    assert not difference[:, 2 * n - 1 :].any()
    assert difference[2 * n - 1 :].any(axis=1).all()


@BOTH
def test_heads_do_not_depend_on_each_other_and_masked_pairs_are_not_read(causal: bool) -> None:
    scores = random_scores(20, n_heads=5).float()
    masked = scores.masked_fill(~torch.ones(20, 20, dtype=torch.bool).tril(), -torch.inf) if causal else scores
    every, alone = (
        head_values(score_sums(masked, causal), "detrended"),
        head_values(score_sums(scores[3:4], causal), "detrended"),
    )
    torch.testing.assert_close(every[:, 3:4], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("estimator", ["detrended", "min_norm"])
def test_a_level_does_not_cost_digits(estimator: Estimator) -> None:
    scores = random_scores(30)
    low, high = (head_values(score_sums(scores + level, causal=False), estimator) for level in (0.0, 1e4))
    torch.testing.assert_close(low, high, rtol=1e-4, atol=1e-6)
