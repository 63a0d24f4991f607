"""Fair timing: works that are compared run in turn, in one process, and their medians are reported."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table

from plmdepth.results.atomic import write_json

ROOT = Path(__file__).resolve().parents[1]


def interleaved(works: Mapping[str, Callable[[], Any]], rounds: int = 5) -> dict[str, float]:
    """Return the median seconds of every work, timed in turn after one round of warming up."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            start = _now()
            work()
            if number:
                times[name].append(_now() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def report(name: str, title: str, results: Sequence[Mapping[str, Any]]) -> None:
    """Print results as a table and write them, with versions and machine, to ``outputs/bench/<name>.json``."""
    table = Table(title=title, title_justify="left")
    headings = list(dict.fromkeys(key for result in results for key in result))
    for heading in headings:
        table.add_column(heading.replace("_", " "))
    for result in results:
        table.add_row(*(_shown(result.get(heading)) for heading in headings))
    Console().print(table)
    file = ROOT / "outputs" / "bench" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"about": _about(), "results": list(results)})
    print(f"-> {file.relative_to(ROOT)}")


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)


def _about() -> dict[str, Any]:
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "processor": _processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
