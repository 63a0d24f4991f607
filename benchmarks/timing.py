"""Fair timing: works that are compared run in turn, in one process, and their medians are reported."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from plmdepth.results.atomic import write_json

ROOT = Path(__file__).resolve().parents[1]


def interleaved(works: Mapping[str, Callable[[], Any]], rounds: int = 5) -> dict[str, float]:
    """Return the median seconds of every work, timed in turn after one round of warming up."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if number:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def save(name: str, results: list[dict[str, Any]]) -> Path:
    """Write results with versions and machine to ``outputs/bench/<name>.json`` and return the file."""
    folder = ROOT / "outputs" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "processor": _processor(),
    }
    write_json(folder / f"{name}.json", {"about": about, "results": results})
    return folder / f"{name}.json"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
