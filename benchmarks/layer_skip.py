"""``layer_skip``, all layers: ours, the published way (one full run a layer), and the floor.

The published way runs the whole model once for every sequence and skipped layer, reading every later state: with plain
hooks, and with nnsight where it is installed (``pip install 'plmdepth[bench]'``). The floor is (L + 1) / 2 bare forward
passes for every sequence.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from timing import ROOT, interleaved, save
from torch import Tensor

from plmdepth.language_models.families.esm2 import ESM2
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack
from plmdepth.metrics.layer_skip import LayerSkip
from plmdepth.objectives.masked import Masked
from plmdepth.objectives.objective import Example
from plmdepth.proteins.protein import CANONICAL, Protein

SHAPES = {"12 layers x 480": (12, 480, 20), "30 layers x 640": (30, 640, 20)}
N_SEQUENCES, LENGTH = 1, 128


def stack_of(n_layers: int, width: int, n_heads: int) -> LayerStack:
    """Return an untrained ESM-2 of this shape."""
    size = {"n_layers": n_layers, "width": width, "n_heads": n_heads}
    return load_stack(
        ESM2(name="bench", family="esm2", objective="masked", max_length=1022, weights="random", **size), 0
    )


def proteins() -> tuple[Protein, ...]:
    """Return proteins of random letters."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(20, (N_SEQUENCES, LENGTH), generator=generator).tolist()
    return tuple(Protein(str(n), "".join(CANONICAL[i] for i in row)) for n, row in enumerate(drawn))


def bare(stack: LayerStack, example: Example) -> Tensor:
    """Run the model's own forward pass and return the logits."""
    return stack.module(input_ids=example.tokens.ids, attention_mask=example.tokens.attended.long()).logits


@torch.no_grad()
def published_with_hooks(stack: LayerStack, examples: list[Example]) -> None:
    """One full run for every layer; every later contribution is compared with the clean one."""
    for example in examples:
        residues = example.tokens.residues[0]
        clean, clean_logits = _watched(stack, example, skipped=None)
        for layer in range(stack.n_layers):
            states, logits = _watched(stack, example, skipped=layer)
            _compare(clean, states, layer, residues)
            _distance(clean_logits, logits, residues)


def _watched(stack: LayerStack, example: Example, skipped: int | None) -> tuple[list[Tensor], Tensor]:
    residues = example.tokens.residues[0]
    states: list[Tensor] = []

    def hook(number: int) -> Callable[..., Tensor | None]:
        def observe(_module: Any, inputs: Any, output: Tensor) -> Tensor | None:
            if number == 0:
                states.append(inputs[0])
            result = torch.where(residues[:, None], inputs[0], output) if number == skipped else None
            states.append(output if result is None else result)
            return result

        return observe

    handles = [module.register_forward_hook(hook(number)) for number, module in enumerate(stack.anatomy.layers)]
    logits = bare(stack, example)
    for handle in handles:
        handle.remove()
    return states, logits


def _compare(clean: list[Tensor], states: list[Tensor], layer: int, residues: Tensor) -> list[Tensor]:
    effects = []
    for later in range(layer + 2, len(clean)):
        c, other = clean[later] - clean[later - 1], states[later] - states[later - 1]
        effects.append(((c - other).norm(dim=-1) / c.norm(dim=-1))[0, residues].max())
    return effects


def _distance(clean: Tensor, changed: Tensor, residues: Tensor) -> Tensor:
    return (clean.softmax(-1) - changed.softmax(-1)).norm(dim=-1)[0, residues].max()


@torch.no_grad()
def published_with_nnsight(stack: LayerStack, examples: list[Example]) -> None:
    """Return the same through nnsight traces."""
    from nnsight import NNsight  # noqa: PLC0415 (an extra of the benchmark alone)

    model = NNsight(stack.module)
    layers = model.esm.encoder.layer
    for example in examples:
        inputs = {"input_ids": example.tokens.ids, "attention_mask": example.tokens.attended.long()}
        residues = example.tokens.residues[0]
        clean, clean_logits = _traced(model, layers, inputs, residues, skipped=None)
        for layer in range(stack.n_layers):
            states, logits = _traced(model, layers, inputs, residues, skipped=layer)
            _compare(clean, states, layer, residues)
            _distance(clean_logits, logits, residues)


def _traced(model: Any, layers: Any, inputs: Any, residues: Tensor, skipped: int | None) -> tuple[list[Tensor], Tensor]:
    with model.trace(**inputs):
        states = list().save()  # noqa: C408 (nnsight saves objects, not literals)
        states.append(layers[0].input)
        for number in range(len(layers)):
            entering = layers[number].input
            if number == skipped:
                layers[number].output = torch.where(residues[:, None], entering, layers[number].output)
            states.append(layers[number].output)
        logits = model.output.logits.save()
    return states, logits


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Return medians in seconds for all works on one shape."""
    stack = stack_of(*SHAPES[name])
    batch = Masked().present(proteins(), stack.spelling, seed=0)
    examples = [batch.sequence(row) for row in range(N_SEQUENCES)]
    metric = LayerSkip(components=("layer",))

    @torch.no_grad()
    def forward() -> None:
        for example in examples:
            bare(stack, example)

    works: dict[str, Callable[[], Any]] = {
        "forward": forward,
        "ours": lambda: metric.measure(stack, batch),
        "hooks": lambda: published_with_hooks(stack, examples),
    }
    if _has_nnsight():
        works["nnsight"] = lambda: published_with_nnsight(stack, examples)
    seconds = interleaved(works, rounds)
    floor = (stack.n_layers + 1) / 2 * seconds["forward"]
    speedups = {f"over_{way}": seconds[way] / seconds["ours"] for way in ("hooks", "nnsight") if way in seconds}
    return {"case": name, **seconds, "floor": floor, "of_floor": seconds["ours"] / floor, **speedups}


def _has_nnsight() -> bool:
    return find_spec("nnsight") is not None


def main() -> None:
    """Measure all shapes, print a table and write a JSON file."""
    results = [measure(name, rounds=3) for name in SHAPES]
    title = f"layer_skip, {N_SEQUENCES} x {LENGTH} residues (goals: 3x over the published way, 1.15x of the floor)"
    table = Table(title=title, title_justify="left")
    headings = [key for key in results[0] if key != "case"]
    for heading in ("case", *headings):
        table.add_column(heading)
    for result in results:
        table.add_row(result["case"], *(f"{result[key]:.2f}" for key in headings))
    Console().print(table)
    print(f"-> {save('layer_skip', results).relative_to(ROOT)}")


if __name__ == "__main__":
    main()
