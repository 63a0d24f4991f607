"""Where the parts of a model are: what a family says about its module so that a stack can take it apart."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from plmdepth.language_models.spelling.spelling import Tokens

Wiring = Literal["sequential", "parallel", "post_norm"]
"""``sequential``: the MLP reads ``h + a``. ``parallel``: attention and MLP both read ``h``. ``post_norm``: a norm
follows each sum, so the MLP reads ``norm(h + a)`` and contributions do not add up to the change of the stream."""


def token_inputs(tokens: Tokens) -> dict[str, Any]:
    """Return what most models are called with: token ids and the mask of padding; nothing is cached between calls."""
    return {"input_ids": tokens.ids, "attention_mask": tokens.attended.long(), "use_cache": False}


@dataclass(frozen=True)
class Anatomy:
    """The parts of a language model.

    Attributes:
        layers: the L transformer blocks in the order in which they run.
        attention_outputs: per layer, the out-projection of attention: its output is what attention adds to the stream.
        mlp_outputs: per layer, the out-projection of the MLP.
        norm: the final norm; the identity where the layers end in one.
        head: from normalised states ``[..., feature]`` to logits ``[..., vocabulary]``; None where there is none.
        wiring: what the MLP reads.
        causal: a token sees only those before it.
        residual_scale: sub-blocks are divided by this before they are added.
        between: per layer of a ``post_norm`` model, the norm between attention and MLP.
        inputs: from a batch to what the model's own forward pass is called with.
        cache_argument: the keyword through which a layer takes keys and values of earlier tokens; None if it cannot.
        second_attention_outputs: per layer from the first on, the out-projection of a second attention that runs after
            that of `attention_outputs`: to an encoder, or by geometry. What attention adds is the sum of both. Empty
            without, and shorter than ``layers`` where the upper ones have none.
        handed_on: from ``h_0`` to the arguments that layer 1 makes itself and hands on to the others, by keyword: T5's
            position bias.
    """

    layers: Sequence[nn.Module]
    attention_outputs: Sequence[nn.Module]
    mlp_outputs: Sequence[nn.Module]
    norm: Callable[[Tensor], Tensor]
    head: Callable[[Tensor], Tensor] | None
    wiring: Wiring
    causal: bool
    residual_scale: float = 1.0
    between: Sequence[Callable[[Tensor], Tensor]] = ()
    inputs: Callable[[Tokens], Mapping[str, Any]] = token_inputs
    cache_argument: str | None = None
    second_attention_outputs: Sequence[nn.Module] = ()
    handed_on: Callable[[Tensor], Mapping[str, Any]] | None = None

    def attention_parts(self, layer: int) -> tuple[nn.Module, ...]:
        """Return the modules of layer l, from 1, whose outputs together are what attention adds."""
        return (self.attention_outputs[layer - 1], *self.second_attention_outputs[layer - 1 : layer])
