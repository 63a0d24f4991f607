"""``integrated_gradients``: ours, and 256 left-Riemann steps a layer from the embeddings, parameters with gradients.

Both share the baseline, the score, the layers and the number of rows that run at once. Ours is asked for the mean
completeness error that the Riemann sums reached.
"""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from models import example_of, stack_of
from timing import ROOT, report
from torch import Tensor

from plmdepth.interventions.backward import target_log_probabilities
from plmdepth.interventions.descent import clean_descent
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack
from plmdepth.metrics.integrated_gradients import IntegratedGradients
from plmdepth.metrics.intervention_masks import spaced_layers
from plmdepth.objectives.objective import Example

STEPS, ROWS = 256, 8


def published(stack: LayerStack, example: Example, means: Tensor, layer: int) -> float:
    """Return the completeness error of the Riemann sum at one layer."""
    with torch.no_grad():
        end = clean_descent(stack, example.tokens).states[layer][0]
    start = means[layer].to(end).expand_as(end)
    total = torch.zeros_like(end, dtype=torch.float64)
    with _trainable(stack):
        for shares in (torch.arange(STEPS, device=end.device) / STEPS).split(ROWS):
            path = (start + shares[:, None, None] * (end - start)).detach().requires_grad_()
            _probability(stack, example, layer, path).sum().backward()
            assert path.grad is not None
            total += path.grad.double().sum(0) / STEPS
    with torch.no_grad():
        low, high = _probability(stack, example, layer, torch.stack([start, end])).tolist()
    attributed = float((total * (end - start).double()).sum())
    return abs(attributed - (high - low)) / max(abs(high - low), 1e-3)


@contextmanager
def _trainable(stack: LayerStack) -> Iterator[None]:
    stack.module.requires_grad_(True)
    yield
    stack.module.zero_grad()
    stack.module.requires_grad_(False)


def _probability(stack: LayerStack, example: Example, layer: int, states: Tensor) -> Tensor:
    """Return the mean probability of the true residues after a forward pass in which ``h_l`` is replaced."""
    seen: list[Tensor] = []
    reader = [*stack.anatomy.layers, stack.anatomy.norm][layer]
    handles = [
        reader.register_forward_pre_hook(lambda _, args: (states, *args[1:])),
        stack.anatomy.norm.register_forward_pre_hook(lambda _, args: seen.append(args[0])),
    ]
    tokens = example.tokens
    rows = (tokens.ids.expand(len(states), -1), tokens.attended.long().expand(len(states), -1))
    stack.module(input_ids=rows[0], attention_mask=rows[1], use_cache=False)
    for handle in handles:
        handle.remove()
    scored = example.scored[0]
    final = seen[0] if layer < stack.n_layers else states
    return target_log_probabilities(stack, final[:, scored], example.labels[0, scored]).exp().mean(-1)


def measure(case: str, stack: LayerStack, example: Example, max_layers: int) -> dict[str, Any]:
    """Return seconds, errors and the gain, summed over the layers of one sequence."""
    metric = IntegratedGradients(max_layers=max_layers, max_nodes=512, max_rows=ROWS).prepared(stack, [example])
    assert metric.means is not None
    layers = spaced_layers(stack.n_layers, max_layers)
    metric.measure(stack, example)  # warms up
    start = time.perf_counter()
    error = statistics.mean(published(stack, example, metric.means, layer) for layer in layers)
    middle = time.perf_counter()
    found = replace(metric, tolerance=error).measure(stack, example).curves[0]
    end = time.perf_counter()
    return {
        "case": case,
        "ours": end - middle,
        "riemann": middle - start,
        "our_error": found[-2, layers].mean().item(),
        "riemann_error": error,
        "our_nodes": found[-1, layers].mean().item(),
        "over_riemann": (middle - start) / (end - middle),
    }


def _bundled(name: str) -> LayerStack:
    from hydra import compose, initialize_config_dir  # noqa: PLC0415 (only these cases need it)

    from plmdepth.commands.objects import build  # noqa: PLC0415

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return load_stack(build(compose("analyze", overrides=[f"model={name}"]), "model"), seed=0)


def main() -> None:
    """Measure all cases, print a table and write a JSON file."""
    stacks = {f"untrained {each} 12 layers x 480": stack_of(each, 12, 480, 8) for each in ("masked", "autoregressive")}
    stacks |= {name: _bundled(name) for name in ("tiny_masked", "tiny_autoregressive")}
    results = [measure(name, stack, example_of(stack, 64), max_layers=5) for name, stack in stacks.items()]
    report("integrated_gradients", "integrated_gradients, 64 residues, seconds (goal: 10x at equal error)", results)


if __name__ == "__main__":
    main()
