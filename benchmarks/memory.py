"""Peak memory of a run over 200 and over 2,000 proteins: it must not grow with their number.

Each run is a process of its own, whose largest resident set the system reports.
"""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIZES = (200, 2000)


def peak_megabytes(size: int, outputs: str) -> float:
    """Return the largest resident set of a run over ``size`` proteins."""
    command = [
        *(sys.executable, "analyze.py", "model=tiny_masked", "metric=suite"),
        *(f"dataset.size={size}", f"outputs={outputs}", "force=true"),
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = _wait(process)
    if status != 0:
        raise SystemExit(f"the run over {size} proteins failed")
    return usage.ru_maxrss / 1024


def _wait(process: "subprocess.Popen[bytes]") -> tuple[int, int, resource.struct_rusage]:
    return os.wait4(process.pid, 0)


def main() -> None:
    """Measure both sizes and print them."""
    with tempfile.TemporaryDirectory() as outputs:
        peaks = [peak_megabytes(size, outputs) for size in SIZES]
    for size, peak in zip(SIZES, peaks, strict=True):
        print(f"{size:>5} proteins: peak {peak:.0f} MB")
    print(f"growth: {peaks[1] / peaks[0]:.3f}x for {SIZES[1] // SIZES[0]}x the proteins")


if __name__ == "__main__":
    main()
