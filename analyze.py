"""Measure what each layer of a protein language model does: `python analyze.py --help`."""

import sys
from pathlib import Path

from plmdepth.commands.analyze import analyze
from plmdepth.commands.entry import main

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent / "conf", "analyze", analyze))
