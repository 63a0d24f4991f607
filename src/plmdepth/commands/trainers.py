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
    shared = is_shared(config)

    def make(**options: Any) -> Trainer:
        strategy = {"strategy": OneMachine()} if shared else {}  # each trainer has its own
        try:
            trainer: Trainer = partial(callbacks=[RichProgressBar()], **strategy, **options)
        except (MisconfigurationException, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0].rstrip(".!")
            raise InputError(f"trainer: {reason}; trainer=cpu works everywhere") from error
        if trainer.world_size > 1 and not isinstance(trainer.strategy, OneMachine):
            raise InputError(f"trainer.devices: {trainer.world_size} devices take as many processes; use trainer=ddp")
        return trainer

    return make
