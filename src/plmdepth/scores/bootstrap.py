"""Confidence intervals of scores that need not be means: the score itself is computed again under every weighting.

Replicate r weighs protein p with ``w_rp ~ Poisson(1)``, drawn from (seed, protein) alone by
`plmdepth.metrics.accumulators.bootstrap_weights`; a protein of weight w counts as w copies of itself (Oza and Russell
2001; Chamandy et al. 2012). All layers share the weights, so layers are compared in pairs. Proteins of one sequence
share theirs: they are one cluster.

Where all proteins say the same (12 of 12 right), so do all replicates, and the percentile interval would be a point.
`certain` then gives the interval of n clusters without an exception, that of Clopper and Pearson 1934 at the edge: with
probability ``1 - 0.025^(1/n)`` or less another one is an exception.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from plmdepth.metrics.accumulators import CONFIDENCE, Estimate


def bootstrap(score: Callable[[Tensor], Tensor], weights: Tensor) -> Estimate:
    """Return a weighted score with its interval.

    Args:
        score: from weights ``[replicate, protein]`` to values ``[replicate, layer]``, such as
            ``partial(weighted_f1_max, probabilities, targets)``.
        weights: bootstrap weights ``[replicate, protein]``; the value itself is that of weights of one.
    """
    rows = score(with_ones(weights))
    return estimate(rows[0], rows[1:], torch.full_like(rows[0], weights.shape[1]))


def difference(estimated: Estimate, layer: int = -1) -> Estimate:
    """Return every layer's score less that of one layer (the last), paired replicate by replicate.

    Args:
        estimated: values ``[layer]`` with replicates ``[replicate, layer]``.
        layer: what to compare with.

    Returns:
        An estimate whose interval excludes 0 where the two layers differ; that of the layer itself is 0.
    """
    return estimate(
        estimated.value - estimated.value[layer],
        estimated.replicates - estimated.replicates[:, layer, None],
        torch.minimum(estimated.n, estimated.n[layer]),
    )


def certain(found: Estimate, bounds: tuple[float, float], clusters: int, span: float = 1.0) -> Estimate:
    """Return an estimate whose intervals are no points: where all replicates agree, that of n clusters which agree.

    ``value -+ span (1 - 0.025^(1/n))`` within the bounds: for 12 of 12 right [0.735, 1], for 0 of 3 [0, 0.708].

    Args:
        found: values ``[layer]``.
        bounds: least and greatest value that there can be.
        clusters: n, the number of different sequences; below two there is no interval at all.
        span: by how much a value can change where every protein changes: the width of the score's range.
    """
    if clusters < 2:
        nowhere = torch.full_like(found.value, torch.nan)
        return found._replace(low=nowhere, high=nowhere)
    exception = span * (1 - ((1 - CONFIDENCE) / 2) ** (1 / clusters))
    point = found.high - found.low <= 1e-12
    low, high = ((found.value + sign * exception).clamp(*bounds) for sign in (-1, 1))
    return found._replace(low=torch.where(point, low, found.low), high=torch.where(point, high, found.high))


def estimate(value: Tensor, replicates: Tensor, n: Tensor) -> Estimate:
    """Return values ``[layer]`` with percentile intervals of ``[replicate, layer]``; NaN below two proteins."""
    low = high = torch.full_like(value, torch.nan)
    if len(replicates):
        tail = (1 - CONFIDENCE) / 2
        quantiles = torch.tensor([tail, 1 - tail], dtype=replicates.dtype, device=replicates.device)
        low, high = torch.where(n > 1, replicates.nanquantile(quantiles, dim=0), torch.nan)
    return Estimate(value, low, high, n, replicates)


def with_ones(weights: Tensor) -> Tensor:
    """Return weights ``[1 + replicate, protein]``, double precision; the first row is one and gives the value."""
    return torch.cat([weights.new_ones(1, weights.shape[1]), weights]).double()


def checked_weights(weights: Tensor | None, n_replicates: int, like: Tensor) -> Tensor:
    """Return weights ``[replicate, protein]`` for the proteins that lead ``like``; none are none.

    Raises:
        ValueError: the shape is another than the number of replicates asks for.
    """
    expected = (n_replicates, len(like))
    known = like.new_zeros(0, len(like), dtype=torch.float64) if weights is None else weights.to(like.device)
    if tuple(known.shape) != expected:
        raise ValueError(f"bootstrap weights must be {expected}, got {tuple(known.shape)}")
    return known.double()
