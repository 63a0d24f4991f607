"""The bookkeeping of predictions without a model: peak memory and seconds for 10,000 and for 100,000 proteins.

Reading, checking, listing what is left out and writing are the real ones; a stub says the same of every protein. Each
size is a process of its own, whose largest resident set the system reports.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
from timing import report

from plmdepth.early_exit.prediction import LEFT_OUT, Predictor, predict_records
from plmdepth.proteins.fasta import read_fasta
from plmdepth.proteins.protein import CANONICAL, Protein
from plmdepth.proteins.selection import Rules
from plmdepth.results.growing_table import GrowingTable

SIZES = (10_000, 100_000)
LENGTH = 200


class Stub:
    """Says the same of every protein."""

    schema = pa.schema([("id", pa.string()), ("label", pa.string()), ("layer", pa.int64())])

    def rows(self, proteins: Sequence[Protein], advance: Callable[[int], None]) -> list[tuple[Any, ...]]:
        """Return a row a protein."""
        advance(len(proteins))
        return [(protein.id, "class_0", 1) for protein in proteins]


def write_fasta(path: Path, size: int) -> None:
    """Write that many proteins; every hundredth record has a gap, and is left out."""
    generator = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(size):
            gap = "-" if number % 100 == 0 else ""
            file.write(f">p{number}\n{gap}{''.join(generator.choices(CANONICAL, k=LENGTH))}\n")


def predict(folder: Path) -> None:
    """Predict the FASTA file of a folder."""
    tables = (GrowingTable(folder / "out.csv", Stub.schema), GrowingTable(folder / "left_out.csv", LEFT_OUT))
    with tables[0], tables[1]:
        records = read_fasta(folder / "in.fasta", "predict")
        predict_records(cast("Predictor", Stub()), records, Rules(max_length=1022), tables, lambda _: None)


def measured(size: int) -> dict[str, Any]:
    """Return what a process of its own takes."""
    with tempfile.TemporaryDirectory() as name:
        write_fasta(Path(name) / "in.fasta", size)
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, str(Path(__file__)), name])
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status != 0:
            raise SystemExit(f"{size} proteins failed")
        rows = sum(1 for _ in (Path(name) / "out.csv").open(encoding="utf-8")) - 1
    return {"proteins": size, "predicted": rows, "megabytes": usage.ru_maxrss / 1024, "seconds": seconds}


def main() -> None:
    """Measure both sizes, print a table and write a JSON file."""
    rows = [measured(size) for size in SIZES]
    for row in rows:
        row["of_first"] = row["megabytes"] / rows[0]["megabytes"]
    report("predictions", "Bookkeeping of predictions, no model (memory must not grow with the proteins)", rows)


if __name__ == "__main__":
    predict(Path(sys.argv[1])) if len(sys.argv) > 1 else main()
