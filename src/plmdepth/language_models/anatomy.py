"""Where the parts of a model are: what a family says about its module so that a stack can take it apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

Wiring = Literal["sequential", "parallel"]
"""``sequential``: the MLP reads ``h + a``. ``parallel``: attention and MLP both read ``h``."""


@dataclass(frozen=True)
class Anatomy:
    """The parts of a language model.

    Attributes:
        layers: the L transformer blocks in the order in which they run.
        attention_outputs: per layer, the out-projection of attention: its output is what attention adds to the stream.
        mlp_outputs: per layer, the out-projection of the MLP.
        norm: the final norm.
        head: from normalised states ``[..., feature]`` to logits ``[..., vocabulary]``.
        wiring: what the MLP reads.
        causal: a token sees only those before it.
        residual_scale: sub-blocks are divided by this before they are added.
        cache_argument: the keyword through which a layer takes keys and values of earlier tokens; None if it cannot.
    """

    layers: Sequence[nn.Module]
    attention_outputs: Sequence[nn.Linear]
    mlp_outputs: Sequence[nn.Linear]
    norm: Callable[[Tensor], Tensor]
    head: Callable[[Tensor], Tensor]
    wiring: Wiring
    causal: bool
    residual_scale: float = 1.0
    cache_argument: str | None = None
