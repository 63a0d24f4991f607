"""Cuts of a causal model: one branch before them, skipped layer by layer, serves every cut.

A token sees none after it, so what a branch does before a cut does not depend on where the cut lies. Each branch runs
the tokens before the last cut once; for every cut only the tokens from it on follow, and read the keys and values of
that one branch. With cuts at shares q of the tokens, a layer costs ``max q + sum (1 - q)`` of a full one instead of the
number of cuts: 2.8 instead of 4 for 0.2, 0.4, 0.6, 0.8.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from plmdepth.interventions.descent import Descent, Rows
from plmdepth.language_models.layer_stack import LayerCall, LayerStack

WatchCut = Callable[[int, int, Tensor, Tensor], None]
"""Called with the layer, the number of the cut, and the states from the cut on, before and after the layer."""


@dataclass
class _Keys:
    """What a layer takes for a cache: it gives the keys and values of earlier tokens, and keeps those of all.

    Attributes:
        earlier: keys and values of the tokens before, ``[row, head, token, feature]`` each; None if there are none.
        all: the same of all tokens, once the layer has run.
    """

    earlier: tuple[Tensor, Tensor] | None = None
    all: tuple[Tensor, Tensor] | None = None

    def update(self, key: Tensor, value: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        own = (key, value)
        self.all = own if self.earlier is None else _after(self.earlier, own)
        return self.all

    def before(self, cut: int) -> tuple[Tensor, Tensor]:
        assert self.all is not None
        key, value = self.all
        return key[..., :cut, :], value[..., :cut, :]


def _after(earlier: tuple[Tensor, Tensor], own: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    (first_key, first_value), (key, value) = earlier, own
    return torch.cat([first_key, key], dim=-2), torch.cat([first_value, value], dim=-2)


def can_share(stack: LayerStack, call: LayerCall) -> bool:
    """Say whether the layers can read keys and values of tokens that ran before."""
    mask = call.kwargs.get("attention_mask")
    return stack.anatomy.causal and stack.anatomy.cache_argument is not None and isinstance(mask, Tensor)


def wavefront_from_cuts(
    rows: Rows, descent: Descent, cuts: Sequence[int], change: Callable[[int], Tensor], watch: WatchCut
) -> list[Tensor]:
    """Run the branches of every layer and cut down the stack together; as `wavefront`, for all layers.

    Args:
        rows: runs the layers; `can_share` holds for it.
        descent: the clean run.
        cuts: the tokens at which what is measured begins.
        change: returns ``h_s`` of the branch that is changed at layer s at all tokens before the last cut, ``[1,
            token, feature]``.
        watch: sees every layer that branches run through, for every cut.

    Returns:
        ``h_L`` from the cut on, for every cut ``[branch, token, feature]``.
    """
    last = max(cuts)
    nothing = descent.states[0][:0]
    before, after = nothing[:, :last], [nothing[:, cut:] for cut in cuts]
    for layer in range(1, rows.stack.n_layers + 1):
        if len(before):
            entering, (before, *after) = after, _apply(rows, layer, cuts, before, after)
            for number in range(len(cuts)):
                watch(layer, number, entering[number], after[number])
        before = torch.cat([before, change(layer)[:, :last]])
        clean = descent.states[layer]
        after = [torch.cat([states, clean[:, cut:]]) for states, cut in zip(after, cuts, strict=True)]
    return after


def _apply(rows: Rows, layer: int, cuts: Sequence[int], before: Tensor, after: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Apply a layer to all branches: the tokens before the last cut, then those from each cut on."""

    def run(first: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        keys = _Keys()
        found = [_part(rows, layer, 0, first, keys)]
        for cut, states in zip(cuts, others, strict=True):
            found.append(_part(rows, layer, cut, states, _Keys(keys.before(cut))))
        return tuple(found)

    return rows.chunked(run, before, *after)


def _part(rows: Rows, layer: int, start: int, states: Tensor, keys: _Keys) -> Tensor:
    """Return the layer's output for the tokens from ``start`` on."""
    call = _at_tokens(rows.call, start, start + states.shape[1])
    name = rows.stack.anatomy.cache_argument
    assert name is not None
    return rows.stack.apply_layer(layer, states, LayerCall(call.args, call.kwargs | {name: keys}))


def _at_tokens(call: LayerCall, start: int, end: int) -> LayerCall:
    """Return the call of a layer for tokens ``start..end-1`` that see those before them."""
    mask, positions = call.kwargs["attention_mask"], call.kwargs["position_ids"]
    return LayerCall(
        call.args,
        call.kwargs | {"attention_mask": mask[..., start:end, :end], "position_ids": positions[..., start:end]},
    )
