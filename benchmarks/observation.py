"""What observation costs: ``metric=suite`` against one bare forward pass over the same batches."""

from typing import Any

import torch
from hydra import compose, initialize_config_dir
from timing import ROOT, interleaved, report

from plmdepth.analysis.batches import BatchedProteins
from plmdepth.commands.objects import build
from plmdepth.language_models.weights import load_stack

CASES = ("model=tiny_masked", "model=tiny_autoregressive", "model=tiny_diffusion", "model=esm2_8m model.weights=random")
GOAL = 1.6


def measure(case: str) -> dict[str, Any]:
    """Return the medians of a case in seconds over all batches, and their ratio."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("analyze", overrides=[*case.split(), "dataset.size=64"])
    stack = load_stack(build(config, "model"), seed=0)
    dataset, metric = build(config, "dataset"), build(config, "metric")
    proteins = dataset.proteins(1022, seed=0).proteins
    batches = BatchedProteins(proteins, build(config, "objective"), stack.spelling, dataset.tokens_per_batch, seed=0)
    examples = [batch.example for batch in batches]

    @torch.no_grad()
    def bare() -> None:
        for example in examples:
            stack.module(input_ids=example.tokens.ids, attention_mask=example.tokens.attended.long())

    def suite() -> None:
        for example in examples:
            metric.measure(stack, example)

    medians = interleaved({"bare": bare, "suite": suite}, rounds=15)
    return {"case": case, **medians, "ratio": medians["suite"] / medians["bare"]}


def main() -> None:
    """Measure all cases, print a table and write a JSON file."""
    results = [measure(case) for case in CASES]
    report("observation", f"metric=suite against a bare forward pass, seconds (goal: at most {GOAL}x)", results)


if __name__ == "__main__":
    main()
