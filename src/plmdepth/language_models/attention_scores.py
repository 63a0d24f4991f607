"""Attention scores before and after the softmax, read where the model computes them.

Whatever the architecture, attention ends in one of two calls: a softmax over keys, or torch's fused attention, of which
a softmax is a part. What enters that call holds the model's own scaling, position bias and mask. So the calls that a
layer makes are watched while it runs, and nothing of the model is touched: no hook, no other implementation of
attention, and the states of a watched run are bit by bit those of any other.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_MASKED = torch.finfo(torch.float16).min / 2
"""A logit up to here is one that the model masks: masks add infinity or the least number of the model's precision."""
_SOFTMAX = (functional.softmax, torch.softmax, Tensor.softmax)


@dataclass(frozen=True)
class AttentionScores:
    """How much every token attends to every token, ``[batch, head, query token, key token]``, in float32.

    These are of self-attention: a decoder's attention to an encoder and ESM3's attention by geometry are left out. The
    rows of padding are computed by the model like all others, and mean nothing. No gradient flows through them.

    Attributes:
        logits: z, what the softmax reads: after scaling, position bias and mask; ``-inf`` where the model masks,
            whether it adds infinity or the least number. T5's are unscaled, as the model's own are.
        probabilities: ``softmax(z)`` over keys, in float32 also where the model rounds its own; all 0 for a query that
            may attend to no key.
    """

    logits: Tensor
    probabilities: Tensor


class AttentionScoresRecorder:
    """Takes the scores of one layer after the other; see `recording`."""

    def __init__(self) -> None:
        self._scores: AttentionScores | None = None

    def take(self) -> AttentionScores:
        """Return the scores of the layer that has run, and keep none.

        Raises:
            RuntimeError: it attended to nothing.
        """
        scores, self._scores = self._scores, None
        if scores is None:
            raise RuntimeError("a layer ran without a softmax over keys: its attention is computed in an unknown way")
        return scores

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the first attention that runs while the context is open: self-attention, which comes first."""
        self._scores = None
        with _Watch(self._record):
            yield

    @torch.no_grad()
    def _record(self, logits_of: Callable[[], Tensor]) -> None:
        if self._scores is None:
            self._scores = attention_scores(logits_of())


class _Watch(TorchFunctionMode):
    """Reports every attention, by a function that returns its logits, before it runs. Torch's calls inside are not."""

    def __init__(self, report: Callable[[Callable[[], Tensor]], None]) -> None:
        super().__init__()
        self._report = report

    def __torch_function__(
        self, func: Callable[..., Any], _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        read = args[0] if args else kwargs.get("input")
        if func in _SOFTMAX and isinstance(read, Tensor) and read.dim() == 4:
            self._report(lambda: read)
        elif func is functional.scaled_dot_product_attention:
            self._report(lambda: fused_logits(*args, **kwargs))
        return func(*args, **kwargs)


def attention_scores(logits: Tensor) -> AttentionScores:
    """Return the scores of logits in which masked keys have a least number or ``-inf``, in a memory of their own."""
    logits = logits.float()
    logits = logits.masked_fill(logits <= _MASKED, -torch.inf)
    blind = logits.isneginf().all(-1, keepdim=True)
    return AttentionScores(logits, logits.softmax(-1).masked_fill_(blind, 0.0))


def fused_logits(
    query: Tensor,
    key: Tensor,
    value: Tensor,  # noqa: ARG001 (the signature of torch's fused attention)
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,  # noqa: ARG001
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Return what the softmax inside `torch.nn.functional.scaled_dot_product_attention` reads, in float32.

    Args:
        query: ``[batch, head, query token, feature]``.
        key: ``[batch, head, key token, feature]``.
        value: not read.
        attn_mask: true where a query attends to a key; or what is added to the logits.
        dropout_p: not read.
        is_causal: mask the keys behind the query.
        scale: of the logits; by default ``feature ** -0.5``.
    """
    logits = query.float() @ key.float().transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
    if attn_mask is None:
        return logits
    return logits.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else logits + attn_mask
