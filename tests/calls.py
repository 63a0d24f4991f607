"""Hooks for references that run the model itself: a block may be shared between layers, so a layer is a call."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from plmdepth.language_models.families.saprot import STRUCTURE_SPELLING, summed_over_structures
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.spelling.spelling import Tokens


def own_logits(stack: LayerStack, tokens: Tokens) -> Tensor:
    """Return the logits of the model's own forward pass, read out as its authors do; differentiable."""
    logits: Tensor = stack.module(**stack.anatomy.inputs(tokens)).logits
    return summed_over_structures(logits) if stack.spelling is STRUCTURE_SPELLING else logits


def last_reader(stack: LayerStack) -> nn.Module:
    """Return the module that reads ``h_L``: the final norm, or the head where there is none."""
    reader = stack.anatomy.head if isinstance(stack.anatomy.norm, nn.Identity) else stack.anatomy.norm
    assert isinstance(reader, nn.Module)
    return reader


def readers(stack: LayerStack) -> list[nn.Module]:
    """Return the modules that read ``h_0 .. h_L``, each once: a shared block reads several, in their order."""
    return list(dict.fromkeys([*stack.anatomy.layers, last_reader(stack)]))


@contextmanager
def hooked_call(
    parts: Sequence[nn.Module], number: int, hook: Callable[..., Any], before: bool = False
) -> Iterator[None]:
    """Hook part ``number``, from 1, of one run: of a module that is several parts, only the call that is this one."""
    module = parts[number - 1]
    wanted, calls = list(parts[:number]).count(module), 0

    def counted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        return hook(*args) if calls == wanted else None

    handle = module.register_forward_pre_hook(counted) if before else module.register_forward_hook(counted)
    yield
    handle.remove()


@contextmanager
def hooked_state(stack: LayerStack, layer: int, hook: Callable[..., Any]) -> Iterator[None]:
    """Hook what reads ``h_l``, before it does."""
    with hooked_call([*stack.anatomy.layers, last_reader(stack)], layer + 1, hook, before=True):
        yield
