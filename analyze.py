"""Measure what each layer of a protein language model does: `python analyze.py --help`."""

import sys
from pathlib import Path

from plmdepth.commands.entry import main


def task(*cell: object) -> Path:
    """Run one cell and return its folder; imported here because help and refusals should not wait for torch."""
    from plmdepth.commands.analyze import analyze  # noqa: PLC0415

    return analyze(*cell)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent / "conf", "analyze", task))
