"""``layer_skip``: ours, the published way (one full run for every layer and cut), one branch a cut, and the floor.

The published way runs the whole model once for every sequence, cut and skipped layer, and reads every later state: with
plain hooks, and with nnsight where it is installed (``pip install 'plmdepth[bench]'``). The floor is (L + 1) / 2
forward passes of the model itself for every cut.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import torch
from models import SHAPES, example_of, forward, stack_of
from timing import interleaved, report
from torch import Tensor

from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.intervention_masks import InterventionMask, Scope, intervention_masks
from plmdepth.metrics.layer_skip import LayerSkip
from plmdepth.objectives.objective import Example

LENGTH = 128
CASES: tuple[tuple[str, Scope], ...] = (("masked", "all"), ("autoregressive", "all"), ("autoregressive", "future"))
Run = Callable[[int | None, InterventionMask], tuple[list[Tensor], Tensor]]
"""From a layer to skip (from 0; None for none) and a mask to all states and the logits."""


@dataclass(frozen=True)
class Published:
    """One full run for every mask and layer, with whatever runs the model."""

    run: Run
    n_layers: int
    masks: list[InterventionMask]

    @torch.no_grad()
    def __call__(self) -> list[Tensor]:
        """Return every effect and output effect."""
        found: list[Tensor] = []
        for mask in self.masks:
            clean, clean_logits = self.run(None, mask)
            for layer in range(self.n_layers):
                states, logits = self.run(layer, mask)
                found += _effects(clean, states, layer, mask)
                distance = (clean_logits.softmax(-1) - logits.softmax(-1)).norm(dim=-1)
                found.append(distance[0, mask.measured].max())
        return found


def _effects(clean: list[Tensor], states: list[Tensor], layer: int, mask: InterventionMask) -> list[Tensor]:
    effects = []
    for later in range(layer + 2, len(clean)):
        c, other = clean[later] - clean[later - 1], states[later] - states[later - 1]
        effects.append(((c - other).norm(dim=-1) / c.norm(dim=-1))[0, mask.measured].max())
    return effects


def with_hooks(stack: LayerStack, example: Example) -> Run:
    """Return a run of the model that skips and reads through plain hooks."""

    def run(skipped: int | None, mask: InterventionMask) -> tuple[list[Tensor], Tensor]:
        states: list[Tensor] = []

        def hook(number: int) -> Callable[..., Any]:
            def observe(_module: Any, inputs: Any, output: Any) -> Any:
                state = output[0] if isinstance(output, tuple) else output
                if number == 0:
                    states.append(inputs[0])
                if number == skipped:
                    state = torch.where(mask.changed[:, None], inputs[0], state)
                states.append(state)
                return (state, *output[1:]) if isinstance(output, tuple) else state

            return observe

        handles = [module.register_forward_hook(hook(number)) for number, module in enumerate(stack.anatomy.layers)]
        logits = forward(stack, example)
        for handle in handles:
            handle.remove()
        return states, logits

    return run


def with_nnsight(stack: LayerStack, example: Example) -> Run:
    """Return a run of ESM-2 that skips and reads through an nnsight trace."""
    from nnsight import NNsight  # noqa: PLC0415 (an extra of the benchmark alone)

    model = NNsight(stack.module)
    layers = model.esm.encoder.layer
    inputs = {"input_ids": example.tokens.ids, "attention_mask": example.tokens.attended.long()}

    def run(skipped: int | None, mask: InterventionMask) -> tuple[list[Tensor], Tensor]:
        with model.trace(**inputs):
            states = list().save()  # noqa: C408 (nnsight saves objects, not literals)
            states.append(layers[0].input)
            for number in range(stack.n_layers):
                entering = layers[number].input
                if number == skipped:
                    layers[number].output = torch.where(mask.changed[:, None], entering, layers[number].output)
                states.append(layers[number].output)
            logits = model.output.logits.save()
        return states, logits

    return run


def measure(shape: str, objective: str, scope: Scope, rounds: int = 2) -> dict[str, Any]:
    """Return medians in seconds for all works on one shape, and what they are to ours."""
    stack = stack_of(objective, *SHAPES[shape])
    example = example_of(stack, LENGTH)
    metric = LayerSkip(components=("layer",), scope=scope)
    masks = intervention_masks(scope, metric.cuts, stack, example)
    apart = replace(stack, anatomy=replace(stack.anatomy, cache_argument=None))
    works: dict[str, Callable[[], Any]] = {
        "forward": lambda: _forward(stack, example),
        "ours": lambda: metric.measure(stack, example),
        "hooks": Published(with_hooks(stack, example), stack.n_layers, masks),
    }
    if scope == "future":
        works["a_branch_a_cut"] = lambda: metric.measure(apart, example)
    if objective == "masked" and find_spec("nnsight"):
        works["nnsight"] = Published(with_nnsight(stack, example), stack.n_layers, masks)
    seconds = interleaved(works, rounds)
    floor = len(masks) * (stack.n_layers + 1) / 2 * seconds["forward"]
    gains = {f"over_{way}": seconds[way] / seconds["ours"] for way in works if way not in ("forward", "ours")}
    return {"case": f"{objective} {shape}, {scope}", **seconds, "of_floor": seconds["ours"] / floor, **gains}


@torch.no_grad()
def _forward(stack: LayerStack, example: Example) -> Tensor:
    return forward(stack, example)


def main() -> None:
    """Measure all cases, print a table and write a JSON file."""
    results = [measure(shape, objective, scope) for objective, scope in CASES for shape in SHAPES]
    goals = "goals: 3x over the published way, 1.15x of the floor, 1.5x over a branch a cut"
    report("layer_skip", f"layer_skip, {LENGTH} residues, seconds ({goals})", results)


if __name__ == "__main__":
    main()
