"""The trainer that drives a run, from its configuration."""

from collections.abc import Callable
from typing import Any

from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import RichProgressBar

from plmdepth.commands.ddp import OneMachine
from plmdepth.commands.objects import build, plain
from plmdepth.commands.shared import is_shared
from plmdepth.errors import InputError


def build_trainer(config: DictConfig) -> Callable[..., Trainer]:
    """Return what makes the trainer, given what a run adds to its options.

    Raises:
        InputError: an option limits the batches, and so would decide which proteins are measured. The trainer that is
            made raises it too where the machine lacks what the options ask for.
    """
    limits = sorted(key for key in plain(config, "trainer") if key.startswith(("limit_", "fast_dev", "overfit_")))
    if limits:
        raise InputError(f"trainer.{limits[0]} would leave proteins out unseen; use dataset.limit=N")
    partial = build(config, "trainer")

    def make(**options: Any) -> Trainer:
        try:
            trainer: Trainer = partial(callbacks=[RichProgressBar()], **_strategy(config), **options)
        except (MisconfigurationException, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0].rstrip(".!")
            raise InputError(f"trainer: {reason}; trainer=cpu works everywhere") from error
        _check_alone(trainer)
        return trainer

    return make


def _strategy(config: DictConfig) -> dict[str, Any]:
    """Return what stands in for the strategy's name."""
    return {"strategy": OneMachine()} if is_shared(config) else {}


def _check_alone(trainer: Trainer) -> None:
    if trainer.world_size > 1 and not isinstance(trainer.strategy, OneMachine):
        raise InputError(f"trainer.devices: {trainer.world_size} devices take as many processes; use trainer=ddp")
