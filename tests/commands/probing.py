"""Command lines of probes: run in a folder of their own, on few proteins."""

import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from plmdepth.commands.analyze import analyze
from plmdepth.commands.entry import main
from plmdepth.commands.train import train

CONF = Path(__file__).parents[2] / "conf"
FEW = ("dataset.train_size=80", "dataset.valid_size=30", "dataset.test_size=30")
QUICK = ("probe.epochs=15", "probe.batch_size=16", "probe.learning_rate=0.01", "probe.n_replicates=20")
STUDY = ("exit=early", "exit.thresholds=10", "exit.n_replicates=20", "exit.timed=8", "exit.rounds=2")


def invoke(folder: Path, entry: str, *arguments: str) -> int:
    """Run an entry point in a folder and return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "80")
        patch.setattr(sys, "argv", [f"{entry}.py", *arguments])
        GlobalHydra.instance().clear()
        try:
            return main(CONF, entry, {"analyze": analyze, "train": train}[entry])
        finally:
            GlobalHydra.instance().clear()
            HydraConfig.instance().cfg = None


def fit(folder: Path, dataset: str, *arguments: str, probe: str = "linear") -> Path:
    """Train a probe and return the folder of its record."""
    assert invoke(folder, "train", f"probe={probe}", f"dataset={dataset}", *FEW, *QUICK, *arguments) == 0
    found = (folder / f"outputs/train/tiny_masked/{dataset}/{probe}").glob("*/result.json")
    return max(found, key=lambda path: path.stat().st_mtime_ns).parent


def refusal(capsys: pytest.CaptureFixture[str], folder: Path, entry: str, *arguments: str) -> str:
    """Return the one line with which a command is refused."""
    capsys.readouterr()
    assert invoke(folder, entry, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line
