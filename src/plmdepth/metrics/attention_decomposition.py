"""Attention decomposition: how much of a head's scores depends on distance, and how much on what the key is.

Han and Heng 2025; Hart et al. 2025 (proteins against language).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.attention_scores import AttentionScores
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.additive_scores import (
    AdditiveFit,
    ScoreSums,
    correlation,
    detrended_variance,
    least_squares,
    min_norm,
    published,
    score_sums,
    slope,
)
from plmdepth.metrics.attention_heads import MEAN, HeadMetric, among
from plmdepth.metrics.head_statistics import HeadStatistics
from plmdepth.metrics.metric import Curves
from plmdepth.metrics.quantity import Quantity
from plmdepth.objectives.objective import Example

Estimator = Literal["detrended", "min_norm", "published"]
FEWEST = 4
"""Tokens below which a part has nothing left beside its line."""


@dataclass(frozen=True, kw_only=True)
class AttentionDecomposition(HeadMetric):
    """Fit ``S[i, j] ~ a[i - j] + b[j] + c[i]`` to the scores of every head by least squares and compare a with b.

    ``positional_variance`` is Var(a), ``semantic_variance`` Var(b), ``log_ratio`` the logarithm of their quotient, and
    ``reconstruction`` Pearson's correlation of the fit with the scores. A part varies over its distances or keys, each
    of which counts once. Causal heads are fitted over the keys up to the query. Rows of c shift a whole query and
    vanish in the softmax.

    The fit leaves open how a linear trend is shared: ``a[d] = d, b[j] = j, c[i] = -i`` changes no score and both
    variances. So the variances need a convention, the estimator:

    * ``detrended``: variances about the line through a and through b, which no such sharing changes. The trend itself
      is reported beside them: ``row_slope`` (of a and c together, per query) and ``column_slope`` (of b less a, per
      key), which are determined.
    * ``min_norm``: variances of the fit with the least ``|a|^2 + |b|^2 + |c|^2``, as the paper's definition has it. It
      calls a purely positional trend, ``0.01 (i - j)``, mostly semantic.
    * ``published``: variances of what the published code computes, whose equations are not those of least squares (see
      `plmdepth.metrics.additive_scores.published`). For comparison with published numbers alone.

    A variance below what single precision can tell from zero counts as that: ``eps^2`` of the mean squared score.

    Attributes:
        scores: ``logits`` as the softmax reads them, with the model's own scaling and position bias, or
            ``probabilities`` after it, which the published code decomposes.
        estimator: which variances are compared.
        special_tokens: whether tokens that are no residues take part.
        window: the first so many tokens take part; None for all.
    """

    name: ClassVar[str] = "attention_decomposition"
    per_head: ClassVar[tuple[Quantity, ...]] = tuple(
        Quantity("attention_decomposition", name, unit, label, bounds=bounds)
        for name, unit, label, bounds in (
            ("positional_variance", "", "variance by distance", (0, math.inf)),
            ("semantic_variance", "", "variance by key", (0, math.inf)),
            ("log_ratio", "", "log(positional / semantic variance)", (-math.inf, math.inf)),
            ("reconstruction", "", "correlation of the fit with the scores", (-1, 1)),
            ("row_slope", "1/token", "trend over queries", (-math.inf, math.inf)),
            ("column_slope", "1/token", "trend over keys", (-math.inf, math.inf)),
        )
    )
    scores: Literal["logits", "probabilities"] = "logits"
    estimator: Estimator = "detrended"
    special_tokens: bool = False
    window: int | None = None

    def __post_init__(self) -> None:
        if self.window is not None and self.window < FEWEST:
            raise InputError(f"metric.window={self.window}: a fit needs {FEWEST} tokens or more; null takes all")

    def read_layer(self, stack: LayerStack, scores: AttentionScores, row: int, example: Example) -> ScoreSums | None:
        """Return the sums of the scores of one sequence, which are all that a fit needs; None where it is too short.

        Raises:
            InputError: the estimator is for scores of both directions, or the model masks pairs among the tokens.
        """
        causal = stack.anatomy.causal
        if causal and self.estimator == "published":
            raise InputError("metric.estimator=published is for models that read both sides of a residue; use min_norm")
        every = scores.logits if self.scores == "logits" else scores.probabilities
        kept = kept_tokens(example, row, self.special_tokens, self.window)
        if len(kept) < FEWEST:
            return None
        sums = score_sums(among(every[row], kept), causal)
        if not bool(sums.squares.isfinite().all()):
            raise InputError("the model masks pairs of tokens; use metric.scores=probabilities")
        return sums

    def values_of(self, layers: Sequence[ScoreSums | None]) -> Tensor:
        """Return the six quantities of every head; the heads of all layers are one system's right-hand sides."""
        known = [sums for sums in layers if sums is not None]
        if not known:
            return torch.full((len(self.per_head), self.n_heads, len(layers)), torch.nan, dtype=torch.float64)
        values = head_values(ScoreSums.joined(known), self.estimator)
        return values.unflatten(-1, (len(layers), -1)).transpose(1, 2)

    def scalars(self, curves: Curves) -> dict[str, Tensor]:
        """Return ``log_ratio`` and ``reconstruction``, means over heads and layers."""
        return {name: curves[name, MEAN].nanmean(-1) for name in ("log_ratio", "reconstruction")}

    def statistics(self, stack: LayerStack) -> HeadStatistics:
        """Return what accumulates how the ratio varies by input, layer and head."""
        return HeadStatistics(self.n_heads, stack.n_layers, lambda curves: self.of_heads(curves, "log_ratio"))


def kept_tokens(example: Example, row: int, special_tokens: bool, window: int | None) -> Sequence[int]:
    """Return the tokens of a sequence that take part, ascending."""
    mask = example.tokens.attended if special_tokens else example.tokens.residues
    found: list[int] = mask[row].nonzero()[:, 0].tolist()
    return found[:window]


def head_values(sums: ScoreSums, estimator: Estimator) -> Tensor:
    """Return positional and semantic variance, log ratio, reconstruction and slopes, ``[6, head]``."""
    fit = published(sums) if estimator == "published" else least_squares(sums)
    positional, semantic = variances(min_norm(fit) if estimator == "min_norm" else fit, estimator)
    rounding = torch.finfo(torch.float32).eps ** 2 * sums.squares / sums.n_pairs
    known = (positional > rounding) | (semantic > rounding)
    ratio = (torch.maximum(positional, rounding) / torch.maximum(semantic, rounding)).log()
    slopes = (slope(fit.a) + slope(fit.c), slope(fit.b) - slope(fit.a))
    return torch.stack([positional, semantic, torch.where(known, ratio, torch.nan), correlation(sums, fit), *slopes])


def variances(fit: AdditiveFit, estimator: Estimator) -> tuple[Tensor, Tensor]:
    """Return the variance of a and that of b, ``[head]``."""
    variance = detrended_variance if estimator == "detrended" else lambda part: part.var(-1)
    return variance(fit.a), variance(fit.b)
