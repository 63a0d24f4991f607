from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from plmdepth.commands.trainers import build_trainer
from plmdepth.errors import InputError


def composed(conf: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf), version_base="1.3"):
        return compose("analyze", overrides=list(overrides))


def test_a_limit_of_batches_is_refused_because_it_would_decide_what_is_measured(conf: Path) -> None:
    with pytest.raises(InputError, match=r"use dataset\.limit=N"):
        build_trainer(composed(conf, "+trainer.limit_test_batches=2"))


@pytest.mark.parametrize("override", ["trainer.precision=foo", "trainer.accelerator=abacus"])
def test_what_the_trainer_cannot_do_is_one_line(conf: Path, override: str) -> None:
    make = build_trainer(composed(conf, override))
    with pytest.raises(InputError, match=r"^trainer: [^\n]+$"):
        make()


def test_a_run_adds_its_own_options(conf: Path) -> None:
    assert build_trainer(composed(conf))(max_epochs=3).max_epochs == 3
