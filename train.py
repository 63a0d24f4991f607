"""Train a language model: `python train.py --help`."""

import sys
from pathlib import Path

from plmdepth.commands.entry import main


def task(*cell: object) -> Path:
    """Run one cell and return its folder; imported here because help and refusals should not wait for torch."""
    from plmdepth.commands.train import train  # noqa: PLC0415

    return train(*cell)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent / "conf", "train", task))
