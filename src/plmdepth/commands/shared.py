"""Whether several processes share a cell, as ``trainer=ddp`` has it."""

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from plmdepth.commands.sweeps import is_sweep
from plmdepth.errors import InputError

ONE_AT_A_TIME = "run one cell at a time with trainer=ddp: leave out -m, or use trainer=gpu or trainer=cpu"
ALONE = "runs in one process; use trainer=gpu or trainer=cpu"


def is_shared(config: DictConfig) -> bool:
    """Say whether the trainer shares a cell among processes."""
    return OmegaConf.select(config, "trainer.strategy") == "ddp"


def check_alone(flags: Sequence[str], overrides: Sequence[str]) -> None:
    """Refuse a sweep whose cells would be shared, before it is planned.

    Raises:
        InputError: it is one.
    """
    chosen = [each.partition("=")[2].split(",") for each in overrides if each.startswith("trainer=")]
    if is_sweep(flags) and any("ddp" in options for options in chosen):
        raise InputError(ONE_AT_A_TIME)
