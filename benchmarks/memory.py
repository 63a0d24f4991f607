"""Peak memory: of a run over 200 and 2,000 proteins, and of every causal measurement against a bare forward pass.

Each is a process of its own, whose largest resident set the system reports; on a GPU, the most that was allocated.
"""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from models import DEVICE, example_of, forward, stack_of
from timing import ROOT, report

from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.ablation import Ablation
from plmdepth.metrics.direct_effect import DirectEffect
from plmdepth.metrics.erasure import Erasure
from plmdepth.metrics.gradients import Gradients
from plmdepth.metrics.integrated_gradients import IntegratedGradients
from plmdepth.metrics.layer_skip import LayerSkip
from plmdepth.metrics.metric import Metric
from plmdepth.objectives.objective import Example

SIZES = (200, 2000)
SHAPE, LENGTH = (12, 480, 8), 256
METRICS: dict[str, Callable[[], Metric]] = {
    "layer_skip": LayerSkip,
    "layer_skip max_rows=2": lambda: LayerSkip(max_rows=2),
    "direct_effect": DirectEffect,
    "ablation": lambda: Ablation(max_block=4),
    "erasure": lambda: Erasure(max_positions=4),
    "gradients": Gradients,
    "integrated_gradients": lambda: IntegratedGradients(max_layers=2, max_nodes=16),
}


def measure_one(name: str) -> None:
    """Run a forward pass, or a metric, and print the megabytes that it took beside the model's own."""
    stack = stack_of("masked", *SHAPE)
    example = example_of(stack, LENGTH)
    before = _megabytes()
    _run(name, stack, example)
    print(_megabytes() - before)


def _run(name: str, stack: LayerStack, example: Example) -> None:
    if name == "forward":
        with torch.no_grad():
            forward(stack, example)
    else:
        METRICS[name]().prepared(stack, [example]).measure(stack, example)


def _megabytes() -> float:
    if DEVICE == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def taken(name: str) -> float:
    """Return what `measure_one` prints in a process of its own."""
    command = [sys.executable, str(Path(__file__)), name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_megabytes(size: int, outputs: str) -> float:
    """Return the largest resident set of a run over ``size`` proteins."""
    command = [
        *(sys.executable, "analyze.py", "model=tiny_masked", "metric=suite"),
        *(f"dataset.size={size}", f"outputs={outputs}", "force=true"),
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"the run over {size} proteins failed")
    return usage.ru_maxrss / 1024


def main() -> None:
    """Measure everything, print tables and write JSON files."""
    with tempfile.TemporaryDirectory() as outputs:
        peaks = [peak_megabytes(size, outputs) for size in SIZES]
    rows: list[dict[str, Any]] = [
        {"proteins": size, "megabytes": peak, "of_first": peak / peaks[0]}
        for size, peak in zip(SIZES, peaks, strict=True)
    ]
    report("memory", "metric=suite: largest resident set (it must not grow with the proteins)", rows)
    bare = taken("forward")
    rows = [{"work": name, "megabytes": found, "of_forward": found / bare} for name, found in _all_taken(bare)]
    title = f"One protein of {LENGTH} residues, {SHAPE[0]} layers x {SHAPE[1]}: memory beside the model"
    report("memory_causal", title, rows)


def _all_taken(bare: float) -> list[tuple[str, float]]:
    return [("forward", bare), *((name, taken(name)) for name in METRICS)]


if __name__ == "__main__":
    measure_one(sys.argv[1]) if len(sys.argv) > 1 else main()
