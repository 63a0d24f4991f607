"""What observation costs: ``metric=suite`` against one bare forward pass over the same batches.

Both are timed in turn on the same model, batches and threads; the ratio is that of the medians.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from rich.console import Console
from rich.table import Table

from plmdepth.analysis.batches import BatchedProteins
from plmdepth.commands.objects import build
from plmdepth.language_models.weights import load_stack
from plmdepth.results.atomic import write_json

ROOT = Path(__file__).resolve().parents[1]
CASES = ("model=tiny_masked", "model=tiny_autoregressive", "model=tiny_diffusion", "model=esm2_8m model.weights=random")
GOAL = 1.6
ROUNDS = 7


def measure(case: str) -> dict[str, float | str]:
    """Return the medians of a case in seconds over all batches, and their ratio."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("analyze", overrides=[*case.split(), "dataset.size=64"])
    stack = load_stack(build(config, "model"), seed=0)
    dataset, metric = build(config, "dataset"), build(config, "metric")
    proteins = dataset.proteins(1022, seed=0).proteins
    batches = BatchedProteins(proteins, build(config, "objective"), stack.spelling, dataset.tokens_per_batch, seed=0)
    examples = [batches[index].example for index in range(len(batches))]

    def bare() -> None:
        with torch.no_grad():
            for example in examples:
                stack.module(input_ids=example.tokens.ids, attention_mask=example.tokens.attended.long())

    def suite() -> None:
        for example in examples:
            metric.measure(stack, example)

    medians = interleaved(bare, suite)
    return {"case": case, "bare": medians[0], "suite": medians[1], "ratio": medians[1] / medians[0]}


def interleaved(*works: Callable[[], None]) -> list[float]:
    """Return the median seconds of every work, timed in turn after one round of warming up."""
    times: list[list[float]] = [[] for _ in works]
    for number in range(ROUNDS + 1):
        for work, seconds in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            if number:
                seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in times]


def main() -> None:
    """Measure all cases, print a table and write a JSON file."""
    results = [measure(case) for case in CASES]
    table = Table(title=f"metric=suite against a bare forward pass (goal: at most {GOAL}x)", title_justify="left")
    for heading in ("case", "bare (s)", "suite (s)", "ratio"):
        table.add_column(heading)
    for result in results:
        table.add_row(str(result["case"]), *(f"{result[name]:.3f}" for name in ("bare", "suite", "ratio")))
    Console().print(table)
    machine = {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    target = ROOT / "outputs" / "bench"
    target.mkdir(parents=True, exist_ok=True)
    write_json(target / "observation.json", {"machine": machine, "torch": torch.__version__, "results": results})
    print(json.dumps(machine), f"-> {(target / 'observation.json').relative_to(ROOT)}")


if __name__ == "__main__":
    main()
