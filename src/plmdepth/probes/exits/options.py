"""``metric=early_exit``: how leaving early is studied."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.probes.exits.policy import Fallback


@dataclass(frozen=True)
class EarlyExitStudy:
    """What is tried.

    Attributes:
        thresholds: number of thresholds, evenly spaced among the confidences that occur on validation, so that the
            average number of layers covers its range.
        temperature: whether the heads' probabilities are scaled by one temperature a layer, fitted on validation.
        n_replicates: bootstrap replicates of the scores.
        timed: proteins of the test that are run for real, the first ones; None times all.
        rounds: how often each timed run is repeated, in turn; the median counts.
        threshold: of ``predict=FASTA`` alone: the confidence at which a protein leaves; None for the least that loses
            nothing on validation. The study itself tries all.
        fallback: of ``predict=FASTA`` alone: what is taken of a protein that was never sure; None for ``last``.
    """

    name: ClassVar[str] = "early_exit"
    thresholds: int = 40
    temperature: bool = False
    n_replicates: int = 200
    timed: int | None = 256
    rounds: int = 3
    threshold: float | None = None
    fallback: Fallback | None = None

    def __post_init__(self) -> None:
        for option in ("thresholds", "n_replicates", "rounds"):
            if getattr(self, option) < 2:
                raise InputError(f"metric.{option} must be at least 2, got {getattr(self, option)}")
        if self.timed is not None and self.timed < 1:
            raise InputError(f"metric.timed must be at least 1, got {self.timed}; null times all")
        if self.threshold is not None and self.threshold < 0:
            raise InputError(f"metric.threshold={self.threshold}: a confidence from 0 (leave at layer 1) to 1 (stay)")

    def grid(self, confidence: Tensor) -> Tensor:
        """Return rising thresholds ``[threshold]``: quantiles of the confidences of layers 1..L, then one above all.

        Args:
            confidence: on validation, ``[layer, protein]``.
        """
        shares = torch.linspace(0, 1, self.thresholds - 1, dtype=torch.float64)
        values = confidence[1:].double().flatten().quantile(shares)
        return torch.cat([values.unique(), torch.tensor([2.0], dtype=torch.float64)])
