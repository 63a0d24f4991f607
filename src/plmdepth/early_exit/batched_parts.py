"""Which parts of a layer's call have one entry a protein, so that proteins can be taken out of a batch.

Masks have one, rotary angles and relative positions have none. The shapes of one call do not tell: a table of positions
may have as many rows as the batch by accident. So two batches of one width that differ in the number of proteins alone
are embedded, and what differs between their calls is what goes by protein.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from plmdepth.language_models.layer_stack import LayerCall, LayerStack
from plmdepth.language_models.spelling.spelling import Tokens

Path = tuple[str | int, ...]
"""Where a tensor lies in a call: the number or name of the argument, then places in tuples."""


@dataclass(frozen=True)
class BatchedParts:
    """What of a model's layer calls goes by protein.

    Attributes:
        by_protein: for every tensor of a call, whether its first dimension is that of proteins.
    """

    by_protein: Mapping[Path, bool]

    def of(self, call: LayerCall, kept: Tensor) -> LayerCall:
        """Return the call for some proteins of the batch; a part that all proteins share stays as it is.

        Args:
            call: of the whole batch.
            kept: the proteins to keep, ``[protein]`` boolean.

        Raises:
            RuntimeError: the call holds a tensor that the calls which were compared did not hold.
        """

        def cut(value: Any, path: Path) -> Any:
            if isinstance(value, Tensor):
                return value[kept] if self._goes_by_protein(path) and len(value) > 1 else value
            if not isinstance(value, tuple | list):
                return value
            parts = [cut(each, (*path, place)) for place, each in enumerate(value)]
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)

        args = tuple(cut(value, (place,)) for place, value in enumerate(call.args))
        return LayerCall(args, {name: cut(value, (name,)) for name, value in call.kwargs.items()})

    def _goes_by_protein(self, path: Path) -> bool:
        if path not in self.by_protein:
            raise RuntimeError(f"layers receive {path}, which they did not when their calls were compared")
        return self.by_protein[path]


@torch.no_grad()
def batched_parts(stack: LayerStack, few: Tokens, more: Tokens) -> BatchedParts:
    """Find out what of a model's layer calls goes by protein.

    Args:
        stack: the model.
        few: a batch with padding, so that there is a mask.
        more: another of the same width with more proteins.

    Raises:
        RuntimeError: a part grows with the number of proteins in another dimension than the first.
    """
    calls = [dict(_tensors(stack.embed(tokens)[1])) for tokens in (few, more)]
    found = {}
    for path, small in calls[0].items():
        large = calls[1][path]
        found[path] = small.shape != large.shape
        if found[path] and (len(small), len(large)) != (len(few.ids), len(more.ids)):
            raise RuntimeError(f"the proteins of {path} are not its first dimension: {small.shape}, {large.shape}")
    return BatchedParts(found)


def _tensors(call: LayerCall) -> Iterator[tuple[Path, Tensor]]:
    """Yield every tensor of a call with its path."""

    def within(value: Any, path: Path) -> Iterator[tuple[Path, Tensor]]:
        if isinstance(value, Tensor):
            yield path, value
        elif isinstance(value, tuple | list):
            for place, each in enumerate(value):
                yield from within(each, (*path, place))

    for place, value in enumerate(call.args):
        yield from within(value, (place,))
    for name, value in call.kwargs.items():
        yield from within(value, (name,))
