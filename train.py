"""Train a language model: `python train.py --help`."""

import sys
from pathlib import Path

from plmdepth.commands.entry import main
from plmdepth.commands.train import train

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent / "conf", "train", train))
