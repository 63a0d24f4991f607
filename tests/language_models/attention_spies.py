"""The logits of attention by another way: from the parts that the models' own attention is handed."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, inf, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.models.gptj.modeling_gptj import GPTJAttention

from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.modules.xlnet import RelativeAttention
from tests.stacks import example_for, own_forward


def handed_to_softmax(stack: LayerStack, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Return the logits of all layers by the parts from which the model's own forward pass makes them."""
    seen: list[tuple[nn.Module, Tensor]] = []
    spy_on_interface(stack, monkeypatch, seen)
    spy_on_gptj(monkeypatch, seen)
    spy_on_xlnet(stack, monkeypatch, seen)
    own_forward(stack, example_for(stack).tokens)
    assert len(seen) >= stack.n_layers
    owners = {part: layer for layer in stack.anatomy.layers for part in layer.modules()}
    first: dict[nn.Module, nn.Module] = {}  # of a layer, the attention that runs first: not that to an encoder
    for module, _ in seen:
        if module in owners:
            first.setdefault(owners[module], module)
    return [logits for module, logits in seen if first.get(owners.get(module, module)) is module]


def spy_on_interface(
    stack: LayerStack, monkeypatch: pytest.MonkeyPatch, seen: list[tuple[nn.Module, Tensor]], masked: bool = True
) -> None:
    """Switch to an implementation of attention that shows its parts; without a mask function it gets no mask."""

    def spy(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        scaling: float | None = None,
        position_bias: Tensor | None = None,
        **_: object,
    ) -> tuple[Tensor, None]:
        logits = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
        for added in (position_bias, mask):
            logits = logits if added is None else logits + added
        seen.append((module, logits))
        return (functional.softmax(logits, dim=-1) @ value).transpose(1, 2), None

    monkeypatch.setitem(AttentionInterface._global_mapping, "spy", spy)
    if masked:
        masks = AttentionMaskInterface._global_mapping
        monkeypatch.setitem(masks, "spy", ALL_MASK_ATTENTION_FUNCTIONS["eager"])
    for module in stack.module.modules():
        if hasattr(module, "config"):
            monkeypatch.setattr(module.config, "_attn_implementation_internal", "spy")


def spy_on_gptj(monkeypatch: pytest.MonkeyPatch, seen: list[tuple[nn.Module, Tensor]]) -> None:
    """Show what GPT-J's attention is handed: it does not go through the interface."""
    attend: Callable[..., Any] = GPTJAttention._attn

    def spy(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Any:
        seen.append((module, query @ key.transpose(-1, -2) / module.head_dim**0.5 + mask))
        return attend(module, query, key, value, mask)

    monkeypatch.setattr(GPTJAttention, "_attn", spy)


def spy_on_xlnet(stack: LayerStack, monkeypatch: pytest.MonkeyPatch, seen: list[tuple[nn.Module, Tensor]]) -> None:
    """Show what XLNet's attention makes, with padding and hidden tokens masked."""
    make = RelativeAttention._scores
    tokens = example_for(stack).tokens
    unseen = ~tokens.attended | (tokens.ids == stack.spelling.mask)

    def spy(module: RelativeAttention, *args: Tensor) -> Tensor:
        scores = make(module, *args)
        seen.append((module, scores.masked_fill(unseen[:, None, None], -inf)))
        return scores

    monkeypatch.setattr(RelativeAttention, "_scores", spy)
