"""``trainer=ddp``: several processes share a cell; which cells can be shared, and how the processes come to be."""

import logging
import os
from collections.abc import Callable
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.distributed import _set_num_threads_if_needed
from omegaconf import DictConfig
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.strategies.launchers.launcher import _Launcher

from plmdepth.commands.shared import ALONE, ONE_AT_A_TIME
from plmdepth.errors import InputError
from plmdepth.results.collectives import group
from plmdepth.results.processes import is_first
from plmdepth.results.workers import WORKERS


class OneMachine(DDPStrategy):
    """Lightning's strategy with processes that this package starts, watches and ends.

    Buffers are not sent around before every step, because not every process has as many batches to validate on.
    """

    def __init__(self) -> None:
        super().__init__(cluster_environment=LightningEnvironment(), forward_sync_buffers=False)

    def setup_environment(self) -> None:
        """Meet the other processes, without a word about it."""
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        super().setup_environment()
        group()  # while all are there

    def _configure_launcher(self) -> None:
        assert isinstance(self.cluster_environment, LightningEnvironment)
        self._launcher = Launcher(self.cluster_environment, self.num_processes)


class Launcher(_Launcher):
    """Starts the other processes when the first run of a trainer begins; later trainers find them there.

    Args:
        place: where the processes meet.
        n_processes: how many there are to be.
    """

    def __init__(self, place: LightningEnvironment, n_processes: int) -> None:
        self._place, self._n = place, n_processes

    @property
    def is_interactive_compatible(self) -> bool:
        """A notebook is no command that could be started again."""
        return False

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:  # noqa: ARG002
        """Have the processes there, then call the function."""
        if is_first() and not WORKERS:
            port = str(self._place.main_port)
            meeting = {"MASTER_ADDR": self._place.main_address, "MASTER_PORT": port, "WORLD_SIZE": str(self._n)}
            WORKERS.start(self._n, meeting | {"NODE_RANK": "0", "LOCAL_RANK": "{number}"})
        _set_num_threads_if_needed(num_processes=self._n)
        try:
            with WORKERS.blamed():
                return function(*args, **kwargs)
        except Exception:
            WORKERS.end()  # before this process leaves them alone, which would be an error of theirs
            raise

    def kill(self, signum: Any) -> None:  # noqa: ARG002 (Lightning's signature)
        """End the other processes."""
        WORKERS.end()


def check_shared(config: DictConfig) -> None:
    """Refuse a cell that several processes cannot share.

    Raises:
        InputError: it is one of several cells, or its model does not lie in memory, or something else
            started the processes.
    """
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        raise InputError(ONE_AT_A_TIME)
    if is_first() and "LOCAL_RANK" in os.environ:
        raise InputError("trainer=ddp starts its processes itself; run the command without torchrun (unset LOCAL_RANK)")
    if config.trainer.get("num_nodes", 1) != 1:
        raise InputError("trainer=ddp shares a cell on one machine; leave trainer.num_nodes out")
    if config.model.get("placement", "memory") != "memory":
        raise InputError(f"model.placement={config.model.placement} {ALONE}, or use model.placement=memory")
