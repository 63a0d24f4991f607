"""Attention scores as a sum over distance, key and query: ``S[i, j] ~ a[i - j] + b[j] + c[i]`` (Han and Heng 2025).

The fit is that of least squares over the pairs that may attend: all of them, or those with ``j <= i`` in a causal head.
All that it needs of a head are the sums of its scores along diagonals, columns and rows. What is left is a system
that depends on the number of tokens alone, so it is factorised once and serves every head of every layer.

Scores of both directions: with b and c eliminated (double centring), the matrix of the system for ``a`` does not change
when distances change sign. So the even and the odd part of ``a`` are two systems of size n and n - 1.

Causal scores: reading the triangle along its other diagonal exchanges keys and queries and keeps distances. With
``g = (b + c') / 2`` and ``h = (b - c') / 2``, where ``c'[k] = c[n - 1 - k]``, ``w[k] = n - k`` and ``T[k, l] = 1`` for
``k + l < n``, the normal equations fall apart into two systems of size n:
``(W + T - 2 T W^-1 T) g = P - T W^-1 D`` with ``a = W^-1 (D - 2 T g)``, and ``(W - T) h = Q``, where D, P and Q are the
sums of diagonals, and half the sum and half the difference of the sums of columns and (reversed) rows.

Three directions change no score and are undetermined: a constant moved from a to c, one moved from b to c, and the
shared trend ``a[d] = d, b[j] = j, c[i] = -i``. The trend changes the variances of a and b; see `detrended_variance`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

_RIDGE = 1e-6  # of the published code


@dataclass(frozen=True)
class ScoreSums:
    """Sums of the scores of heads over the pairs that may attend, in double precision.

    Attributes:
        diagonals: by distance ``i - j``, from ``-(n - 1)``, or from 0 in causal heads, ``[head, distance]``.
        columns: by key, ``[head, n]``.
        rows: by query, ``[head, n]``.
        squares: of the squared scores, ``[head]``.
        causal: only pairs with ``j <= i``.
    """

    diagonals: Tensor
    columns: Tensor
    rows: Tensor
    squares: Tensor
    causal: bool

    @classmethod
    def joined(cls, sums: Sequence["ScoreSums"]) -> "ScoreSums":
        """Return the sums of the heads of several layers, which all have the same tokens, one after the other."""
        return cls(
            diagonals=torch.cat([each.diagonals for each in sums]),
            columns=torch.cat([each.columns for each in sums]),
            rows=torch.cat([each.rows for each in sums]),
            squares=torch.cat([each.squares for each in sums]),
            causal=sums[0].causal,
        )

    @property
    def n_pairs(self) -> int:
        """Number of pairs that may attend."""
        n = self.rows.shape[-1]
        return n * (n + 1) // 2 if self.causal else n * n


@dataclass(frozen=True)
class AdditiveFit:
    """The parts of the scores of heads. A constant may stand in any of them.

    Attributes:
        a: by distance, in the order of `ScoreSums.diagonals`, ``[head, distance]``.
        b: by key, ``[head, n]``.
        c: by query, ``[head, n]``.
        causal: only pairs with ``j <= i`` were fitted.
    """

    a: Tensor
    b: Tensor
    c: Tensor
    causal: bool


def score_sums(scores: Tensor, causal: bool) -> ScoreSums:
    """Return the sums of scores ``[head, query, key]``, a head at a time.

    Rows are written with n zeros behind them; read in rows of 2n + 1 instead of 2n, a diagonal stands in a column.
    """
    n = scores.shape[-1]
    memory = scores.new_zeros(2 * n * n + n, dtype=torch.float64)
    square, skewed = memory[: 2 * n * n].view(n, 2 * n)[:, :n], memory.view(n, 2 * n + 1)
    ones = torch.ones(n, dtype=torch.float64, device=scores.device)
    found = []
    for head in scores:
        square.copy_(head.tril() if causal else head)
        found.append((skewed.T @ ones, square.T @ ones, square @ ones, memory @ memory))
    shifted, columns, rows, squares = (torch.stack(each) for each in zip(*found, strict=True))
    behind = shifted[:, n + 2 :].flip(-1)  # column 2n + 1 - d holds distance d > 0, column d holds distance -d
    parts = [shifted[:, :1], behind] if causal else [shifted[:, 1:n].flip(-1), shifted[:, :1], behind]
    return ScoreSums(torch.cat(parts, dim=-1), columns, rows, squares, causal)


def sums_of_fit(fit: AdditiveFit) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sums of the fitted scores along diagonals, columns and rows: the normal matrix times the parts."""
    n = fit.b.shape[-1]
    number = torch.arange(n, device=fit.b.device)
    a, b, c = (torch.nn.functional.pad(each.cumsum(-1), (1, 0)) for each in (fit.a, fit.b, fit.c))
    first = 0 if fit.causal else 1 - n
    distance = torch.arange(first, n, device=fit.b.device)
    keys = (n - distance.clamp(min=0), (-distance).clamp(min=0))  # j of a diagonal: from the second up to the first
    queries = (n + distance.clamp(max=0), distance.clamp(min=0))
    diagonals = (n - distance.abs()) * fit.a + b[:, keys[0]] - b[:, keys[1]] + c[:, queries[0]] - c[:, queries[1]]
    if fit.causal:
        columns = a[:, n - number] + (n - number) * fit.b + c[:, -1:] - c[:, number]
        rows = a[:, number + 1] + (number + 1) * fit.c + b[:, number + 1]
    else:
        columns = a[:, 2 * n - 1 - number] - a[:, n - 1 - number] + n * fit.b + c[:, -1:]
        rows = a[:, n + number] - a[:, number] + n * fit.c + b[:, -1:]
    return diagonals, columns, rows


def correlation(sums: ScoreSums, fit: AdditiveFit) -> Tensor:
    """Return Pearson's correlation of the fitted scores with the scores over the pairs that may attend, ``[head]``.

    NaN where the scores of a head are all equal.
    """
    shift = fit.b.mean(-1, keepdim=True)
    fit = AdditiveFit(fit.a, fit.b - shift, fit.c + shift, fit.causal)  # constants that cancel would cost digits
    mine, theirs = sums_of_fit(fit), (sums.diagonals, sums.columns, sums.rows)
    parts, n = (fit.a, fit.b, fit.c), sums.n_pairs
    total, fitted = sums.rows.sum(-1), mine[2].sum(-1)
    covariance = _dot(parts, theirs) - fitted * total / n
    variance, spread = _dot(parts, mine) - fitted**2 / n, sums.squares - total**2 / n
    rounding = torch.finfo(torch.float32).eps ** 2 * sums.squares
    product = torch.where((variance > rounding) & (spread > rounding), variance * spread, torch.nan)
    return (covariance / product.sqrt()).clamp(-1, 1)


def _dot(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> Tensor:
    return sum((torch.linalg.vecdot(x, y) for x, y in zip(first, second, strict=True)), start=torch.tensor(0.0))


def least_squares(sums: ScoreSums) -> AdditiveFit:
    """Return one of the least-squares fits; the others differ by the three undetermined directions."""
    solve = _causal_fit if sums.causal else _bidirectional_fit
    return solve(sums)


def min_norm(fit: AdditiveFit) -> AdditiveFit:
    """Return the fit with the least ``|a|^2 + |b|^2 + |c|^2`` of all that give the same scores."""
    n = fit.b.shape[-1]
    number = torch.arange(n, dtype=torch.float64, device=fit.b.device)
    distance = torch.arange(n - fit.a.shape[-1], n, dtype=torch.float64, device=fit.b.device)
    one, many, zero = torch.ones_like(number), torch.ones_like(distance), torch.zeros_like(number)
    rows = [torch.cat([many, zero, -one]), torch.cat([0 * many, one, -one]), torch.cat([distance, number, -number])]
    free = torch.linalg.qr(torch.stack(rows, dim=-1)).Q
    parts = torch.cat([fit.a, fit.b, fit.c], dim=-1)
    a, b, c = (parts - parts @ free @ free.T).split([len(distance), n, n], dim=-1)
    return AdditiveFit(a, b, c, fit.causal)


def published(sums: ScoreSums) -> AdditiveFit:
    """Return what the code of Hart et al. 2025 computes, for scores of both directions, in double precision.

    Its normal equations differ from those of least squares in the rows of b, which leave out distance -1 (and of which
    the first holds all distances but that), and in the rows of c, which hold the distances from ``i - n`` to -2 and
    from 0 to ``i - 1`` instead of those from ``i - n + 1`` to ``i``. It adds 1e-6 to the diagonal.
    """
    n = sums.rows.shape[-1]
    solution = torch.linalg.lu_solve(
        *_published_system(n, sums.rows.device), torch.cat([sums.diagonals, sums.columns, sums.rows], dim=-1).T
    )
    a, b, c = solution.T.split([2 * n - 1, n, n], dim=-1)
    return AdditiveFit(a, b, c, causal=False)


@lru_cache(maxsize=1)
def _published_system(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.linalg.lu_factor(published_matrix(n).to(device))


def published_matrix(n: int) -> Tensor:
    """Return the matrix of the published system, in the order of a (by distance), b, c; see `published`."""
    distance, number = torch.arange(1 - n, n), torch.arange(n)[:, None]
    on_column = (distance >= -number) & (distance < n - number)
    on_row = (distance > number - n) & (distance <= number)
    wrapped = (number == 0) & (distance == n - 1)  # distance -n of the first query is that of the last key's row
    b_rows = (on_column | (number == 0)) & (distance != -1)
    c_rows = ((distance >= number - n) & (distance <= -2)) | ((distance >= 0) & (distance < number)) | wrapped
    eye, ones = torch.eye(n, dtype=torch.float64), torch.ones(n, n, dtype=torch.float64)
    blocks = [
        [torch.diag(n - distance.abs()), on_column.T, on_row.T],
        [b_rows, n * eye, ones],
        [c_rows, ones, n * eye],
    ]
    matrix = torch.cat([torch.cat([block.double() for block in row], dim=1) for row in blocks])
    return matrix + _RIDGE * torch.eye(4 * n - 1, dtype=torch.float64)


def detrended_variance(part: Tensor) -> Tensor:
    """Return the variance of values ``[..., m]`` about their line, ``[...]``: over m - 2 degrees of freedom.

    None of the undetermined directions changes it.
    """
    axis = _axis(part)
    centred = part - part.mean(-1, keepdim=True)
    rest = centred - (centred @ axis)[..., None] * axis
    return rest.square().sum(-1) / (part.shape[-1] - 2)


def slope(part: Tensor) -> Tensor:
    """Return the slope of the line through values ``[..., m]``, ``[...]``."""
    m = part.shape[-1]
    return (part @ _axis(part)) / math.sqrt(m * (m * m - 1) / 12)


def _axis(part: Tensor) -> Tensor:
    """Return the unit vector of a line without its constant, ``[m]``."""
    m = part.shape[-1]
    number = torch.arange(m, dtype=part.dtype, device=part.device) - (m - 1) / 2
    return number / math.sqrt(m * (m * m - 1) / 12)


def _bidirectional_fit(sums: ScoreSums) -> AdditiveFit:
    n = sums.rows.shape[-1]
    even_inverse, odd_inverse = _bidirectional_inverses(n, sums.rows.device)
    mean = sums.rows.sum(-1, keepdim=True) / n**2
    additive = AdditiveFit(torch.zeros_like(sums.diagonals), sums.columns / n - mean, sums.rows / n, causal=False)
    left = sums.diagonals - sums_of_fit(additive)[0]  # the diagonals of the doubly centred scores
    before, after = left[:, : n - 1].flip(-1), left[:, n:]
    even = torch.cat([left[:, n - 1 : n], (after + before) / math.sqrt(2)], dim=-1) @ even_inverse
    odd = (after - before) / math.sqrt(2) @ odd_inverse
    both, sign = even[:, 1:] / math.sqrt(2), odd / math.sqrt(2)
    a = torch.cat([(both - sign).flip(-1), even[:, :1], both + sign], dim=-1)
    zero = torch.zeros_like(sums.rows)
    _, columns, rows = sums_of_fit(AdditiveFit(a, zero, zero, causal=False))
    b, c = (sums.columns - columns) / n, (sums.rows - rows) / n
    return AdditiveFit(a, b, c - c.mean(-1, keepdim=True), causal=False)


@lru_cache(maxsize=4)
def _bidirectional_inverses(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the inverses of the systems of the even and of the odd part of a, off what they leave undetermined."""
    distance = torch.arange(1 - n, n)
    count = (n - distance.abs()).double()
    first, second = distance[:, None], distance[None, :]
    shared = (n - torch.maximum(first, second).clamp(min=0) + torch.minimum(first, second).clamp(max=0)).clamp(min=0)
    matrix = torch.diag(count) - 2 / n * shared.double() + count[:, None] * count / n**2
    after, before = matrix[n:, n:], matrix[n:, : n - 1].flip(-1)
    corner, edge = matrix[n - 1 : n, n - 1 : n], math.sqrt(2) * matrix[n - 1 : n, n:]
    even = torch.cat([torch.cat([corner, edge], dim=1), torch.cat([edge.T, after + before], dim=1)])
    constant = torch.full((n,), math.sqrt(2), dtype=torch.float64)
    constant[0] = 1
    number = torch.arange(1, n, dtype=torch.float64)
    return _inverse_off(even, constant[:, None]).to(device), _inverse_off(after - before, number[:, None]).to(device)


def _causal_fit(sums: ScoreSums) -> AdditiveFit:
    n = sums.rows.shape[-1]
    even_inverse, odd_inverse = _causal_inverses(n, sums.rows.device)
    counts = torch.arange(n, 0, -1, dtype=torch.float64, device=sums.rows.device)
    reversed_rows = sums.rows.flip(-1)
    weighted = sums.diagonals / counts
    g = ((sums.columns + reversed_rows) / 2 - _head_sums(weighted)) @ even_inverse
    h = (sums.columns - reversed_rows) / 2 @ odd_inverse
    return AdditiveFit(weighted - 2 * _head_sums(g) / counts, g + h, (g - h).flip(-1), causal=True)


def _head_sums(values: Tensor) -> Tensor:
    """Return T values: for each k the sum of the first ``n - k``."""
    return values.cumsum(-1).flip(-1)


@lru_cache(maxsize=4)
def _causal_inverses(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the inverses of the systems of g and of h, off what they leave undetermined."""
    number = torch.arange(n, dtype=torch.float64)
    counts = n - number
    triangle = (number[:, None] + number < n).double()
    even = torch.diag(counts) + triangle - 2 * triangle @ (triangle / counts[:, None])
    odd = torch.diag(counts) - triangle
    constant = torch.ones_like(number)
    free = torch.stack([constant, number], dim=-1)
    return _inverse_off(even, free).to(device), _inverse_off(odd, constant[:, None]).to(device)


def _inverse_off(matrix: Tensor, free: Tensor) -> Tensor:
    """Return the inverse of a symmetric positive matrix ``[n, n]`` off its null space, spanned by ``free`` ``[n, k]``.

    The null space is filled in with the mean of the diagonal, so that a Cholesky factor exists; right-hand sides have
    no part in it.
    """
    basis = torch.linalg.qr(free).Q
    factor = torch.linalg.cholesky(matrix + matrix.diagonal().mean() * basis @ basis.T)
    return torch.cholesky_inverse(factor)
