"""A sweep gives back what its cells took."""

import sys
from pathlib import Path

import psutil
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from plmdepth.commands.analyze import analyze
from plmdepth.commands.entry import main

MEGABYTE = 2**20


def test_memory_returns_to_its_level_after_each_cell(
    conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = []

    def measured(config: DictConfig, console: Console) -> Path:
        levels.append(psutil.Process().memory_info().rss / MEGABYTE)
        return analyze(config, console)

    monkeypatch.chdir(tmp_path)
    options = ["model=esm2_35m", "model.weights=random", "metric=logit_lens", "dataset.size=2"]
    monkeypatch.setattr(sys, "argv", ["analyze.py", "-m", *options, "seed=0,1,2,3,4"])
    GlobalHydra.instance().clear()
    try:
        assert main(conf, "analyze", measured) == 0
    finally:
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None
    assert len(levels) == 5
    assert max(levels[2:]) - levels[1] < 100  # one model alone takes 134 MB
