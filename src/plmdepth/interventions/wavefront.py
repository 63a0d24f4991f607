"""The wavefront: one descent that carries every branch that has left the clean run so far.

At layer k the rows are the branches that were changed before k, one for each changed layer. All L interventions cost
``L (L - 1) / 2`` layer evaluations beside the clean run, instead of the ``L^2`` of one full run each.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from plmdepth.interventions.descent import Descent, Rows

Watch = Callable[[int, Tensor, Tensor], None]
"""Called after each layer with the layer, and the states ``[branch, token, feature]`` before and after it."""


def wavefront(
    rows: Rows, descent: Descent, layers: Sequence[int], change: Callable[[int], Tensor], watch: Watch | None = None
) -> Tensor:
    """Run all branches down the stack together.

    Args:
        rows: runs the layers.
        descent: the clean run.
        layers: the layers to change, ascending; branch number i is changed at ``layers[i]``.
        change: returns ``h_s`` of the branch that is changed at layer s, ``[1, token, feature]``.
        watch: sees every layer that branches run through; the branches that were changed before it come first.

    Returns:
        ``h_L`` of every branch, ``[branch, token, feature]``.
    """
    first = descent.states[0]
    states = first.new_empty((0, *first.shape[1:]))
    for layer in range(1, rows.stack.n_layers + 1):
        if len(states):
            entering, states = states, rows.apply(layer, states)
            if watch is not None:
                watch(layer, entering, states)
        if layer in layers:
            states = torch.cat([states, change(layer)])
    return states
