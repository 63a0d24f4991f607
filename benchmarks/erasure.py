"""``erasure``: ours, and one full run of the model for every layer and position.

A full run costs L layers and a branch that leaves the clean run after layer l costs L - l, so at one price a layer the
gain is (L + 1) L / (L (L + 1) / 2) = 2. More than 2 is what rows that run together save.
"""

from typing import Any

import torch
from models import SHAPES, example_of, forward, stack_of
from timing import interleaved, report
from torch import Tensor

from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.erasure import Erasure, erased_positions
from plmdepth.objectives.objective import Example

LENGTH, N_POSITIONS = 128, 2


@torch.no_grad()
def published(stack: LayerStack, example: Example, metric: Erasure) -> list[Tensor]:
    """Return the change of the prediction of every scored row, for every layer and position."""
    scored, found = example.scored[0], []
    clean = forward(stack, example)[0, scored].softmax(-1)
    positions = erased_positions(example, metric.seed, metric.max_positions).tolist()
    assert metric.means is not None
    for reader, mean in zip([*stack.anatomy.layers, stack.anatomy.norm], metric.means.float(), strict=True):
        for position in positions:
            logits = _erased(stack, example, reader, position, mean)[0, scored]
            found.append(torch.linalg.vector_norm(logits.softmax(-1) - clean, dim=-1))
    return found


def _erased(stack: LayerStack, example: Example, reader: Any, position: int, mean: Tensor) -> Tensor:
    def put(_module: Any, args: Any) -> Any:
        state = args[0].clone()
        state[0, position] = mean
        return (state, *args[1:])

    handle = reader.register_forward_pre_hook(put)
    logits = forward(stack, example)
    handle.remove()
    return logits


def measure(shape: str, objective: str, rounds: int = 1) -> dict[str, Any]:
    """Return medians in seconds on one shape."""
    stack = stack_of(objective, *SHAPES[shape])
    example = example_of(stack, LENGTH)
    metric = Erasure(max_positions=N_POSITIONS).prepared(stack, [example])
    works = {"ours": lambda: metric.measure(stack, example), "hooks": lambda: published(stack, example, metric)}
    seconds = interleaved(works, rounds)
    return {"case": f"{objective} {shape}", **seconds, "over_hooks": seconds["hooks"] / seconds["ours"]}


def main() -> None:
    """Measure all cases, print a table and write a JSON file."""
    results = [measure(shape, objective) for objective in ("masked", "autoregressive") for shape in SHAPES]
    report("erasure", f"erasure, {LENGTH} residues, {N_POSITIONS} positions, seconds (goal: 2.5x)", results)


if __name__ == "__main__":
    main()
