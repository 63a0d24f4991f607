"""``exit=early``: how leaving early is studied."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from plmdepth.cells.cell import Cell
from plmdepth.cells.context import RunContext
from plmdepth.early_exit.policy import CERTAINTIES, RESIDUE_SHARE, CertaintyName, Fallback, ProteinConfidence
from plmdepth.errors import InputError
from plmdepth.proteins.tasks.task import Kind


@dataclass(frozen=True)
class EarlyExitStudy:
    """What is tried.

    Attributes:
        thresholds: number of thresholds, evenly spaced among the confidences that occur on validation, so that the
            average number of layers covers its range.
        confidence: how sure a head is of one answer: the probability of the likeliest class, or, of a task with many
            labels, the mean over terms of max(p, 1 - p).
        residue_share: of labels of residues alone: the share of a protein's residues, labelled or not, that must reach
            the threshold; None for 0.8, the first that Hart et al. 2025 try.
        temperature: whether the heads' probabilities are scaled by one temperature a layer, fitted on validation.
        n_replicates: bootstrap replicates of the scores.
        timed: proteins of the test that are run for real, the first ones; None times all.
        rounds: how often each timed run is repeated, in turn; the median counts.
        memory_gigabytes: most that the answers of all heads may take; decides no number.
        threshold: of ``predict=FASTA`` alone: the confidence at which a protein leaves; None for the least that loses
            nothing on validation. The study itself tries all.
        fallback: of ``predict=FASTA`` alone: what is taken of a protein that was never sure; None for ``last``.
    """

    name: ClassVar[str] = "early_exit"
    thresholds: int = 40
    confidence: CertaintyName = "max_probability"
    residue_share: float | None = None
    temperature: bool = False
    n_replicates: int = 200
    timed: int | None = 256
    rounds: int = 3
    memory_gigabytes: float = 8.0
    threshold: float | None = None
    fallback: Fallback | None = None

    def __post_init__(self) -> None:
        for option in ("thresholds", "n_replicates", "rounds"):
            if getattr(self, option) < 2:
                raise InputError(f"exit.{option} must be at least 2, got {getattr(self, option)}")
        if self.timed is not None and self.timed < 1:
            raise InputError(f"exit.timed must be at least 1, got {self.timed}; null times all")
        if self.threshold is not None and self.threshold < 0:
            raise InputError(f"exit.threshold={self.threshold}: a confidence from 0 (leave at layer 1) to 1 (stay)")
        if self.residue_share is not None and not 0 < self.residue_share <= 1:
            raise InputError(f"exit.residue_share={self.residue_share}: a share above 0 and at most 1")
        if not self.memory_gigabytes > 0:
            raise InputError(f"exit.memory_gigabytes must be above 0, got {self.memory_gigabytes}")

    def cell(self, run: RunContext) -> Cell:
        """Return the cell that studies all thresholds.

        Raises:
            InputError: something in the configuration is wrong, or is for predictions alone.
        """
        given = [option for option in ("threshold", "fallback") if getattr(self, option) is not None]
        if given:
            raise InputError(f"exit.{given[0]} is for predictions; add predict=FASTA or leave it out")
        from plmdepth.early_exit.run import ExitCell  # noqa: PLC0415 (a cell knows what it studies)

        return ExitCell.of(run)

    def protein_confidence(self, kind: Kind) -> ProteinConfidence:
        """Return how sure heads are of a protein of a task.

        Args:
            kind: what a label of the task is.

        Raises:
            InputError: an option is not for this kind of task.
        """
        if self.confidence == "mean_certainty" and kind != "multilabel":
            raise InputError(
                "exit.confidence=mean_certainty is for tasks with many labels a protein; this one has one label "
                f"a {'residue' if kind == 'residue' else 'protein'}: use exit.confidence=max_probability"
            )
        if self.residue_share is not None and kind != "residue":
            raise InputError(
                f"exit.residue_share={self.residue_share} is for labels of residues; this task labels proteins: "
                "leave it out"
            )
        share = (self.residue_share or RESIDUE_SHARE) if kind == "residue" else 1.0
        return ProteinConfidence(CERTAINTIES[self.confidence], share)

    def grid(self, confidence: Tensor) -> Tensor:
        """Return rising thresholds ``[threshold]``: quantiles of the confidences of layers 1..L, then one above all.

        Args:
            confidence: on validation, ``[layer, protein]``.
        """
        shares = torch.linspace(0, 1, self.thresholds - 1, dtype=torch.float64)
        values = confidence[1:].double().flatten().quantile(shares)
        return torch.cat([values.unique(), torch.tensor([2.0], dtype=torch.float64)])
