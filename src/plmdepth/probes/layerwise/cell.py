"""What one probe cell is: model x task x probe, and what must fit together in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pytorch_lightning import Trainer

from plmdepth.cells.cell import Cell, Findings
from plmdepth.cells.context import RunContext
from plmdepth.errors import InputError
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.weights import weights_digest
from plmdepth.probes.layerwise.features import POOLS, Pooling
from plmdepth.probes.layerwise.heads import AttentionHeads, LayerHeads, residue_rows
from plmdepth.probes.layerwise.plan import FeaturePlan, stack_shape
from plmdepth.probes.layerwise.recipe import HeadRecipe
from plmdepth.probes.sequence_models import check_reads_sequences
from plmdepth.proteins.datasets.labelled import LabelledDataset
from plmdepth.proteins.tasks.task import Task
from plmdepth.results.identity import Identity

_WITHOUT_NUMBERS = ("cache", "cache_gigabytes")  # decide where features are kept, never a number


@dataclass(frozen=True)
class ProbeCell(Cell):
    """One cell: model x task x probe (x seed).

    Attributes:
        model: the model; it stays as it is.
        task: the labelled proteins.
        recipe: the heads and how they are trained.
        trainer: makes the trainer, given what the recipe adds.
        seed: the run's seed.
        options: the options that decide numbers.
        features: the folder of kept features.
        tokens_per_batch: most tokens that the model reads at once.
    """

    shared: ClassVar[bool] = True
    model: LanguageModel
    task: Task
    recipe: HeadRecipe
    trainer: Callable[..., Trainer]
    seed: int
    options: Mapping[str, Any]
    features: Path
    tokens_per_batch: int

    @cached_property
    def weights(self) -> str:
        """What identifies the model's weights."""
        return weights_digest(self.model, self.seed)

    @property
    def pooling(self) -> Pooling | None:
        """How a protein becomes one vector; None where residues have labels: each is read by itself."""
        return None if self.task.kind == "residue" else self.recipe.pooling

    @property
    def to_convergence(self) -> bool:
        """Whether heads are fitted to convergence: linear ones, unless their pooling is learnt with them."""
        return self.recipe.to_convergence and self.pooling != "attention"

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """The layers that have heads."""
        return self.recipe.chosen(stack_shape(self.model)[0])

    @cached_property
    def plan(self) -> FeaturePlan:
        """What features there are, and whether they are kept."""
        proteins = [each.protein for members in self.task.splits.values() for each in members]
        return FeaturePlan(
            n_proteins=len(proteins),
            n_residues=sum(map(len, proteins)) if self.pooling in (None, "attention") else None,
            n_layers=len(self.layers),
            width=stack_shape(self.model)[1],
            dtype=self.recipe.cache_dtype,
            cache=self.recipe.cache,
            gigabytes=self.recipe.cache_gigabytes,
            folder=self.features / self.model.name,
        )

    def untrained_heads(self, width: int) -> LayerHeads:
        """Return a head for every chosen layer.

        Args:
            width: features of a state.
        """
        sizes = (self.recipe.head, len(self.layers), width, len(self.task.classes), self.layers)
        absent = np.flatnonzero(self.task.positives("train") == 0).tolist()
        if self.pooling == "attention":
            return AttentionHeads(*sizes, absent=absent)
        return LayerHeads(*sizes, residue_rows if self.pooling is None else POOLS[self.pooling], absent)

    @cached_property
    def identity(self) -> Identity:
        """What determines the heads of this cell."""
        facts = {"model": self.model.facts(), "weights": self.weights, "task": self.task.digest, "seed": self.seed}
        return Identity("train", self.model.name, self.task.name, self.recipe.name, facts | dict(self.options))

    @classmethod
    def of(cls, run: RunContext) -> Self:
        """Return the cell of a recipe.

        Raises:
            InputError: something in the configuration is wrong.
        """
        dataset = run.dataset
        if not isinstance(dataset, LabelledDataset):
            raise InputError(f"dataset={dataset.name} has no labels; these have: {run.datasets_of(LabelledDataset)}")
        if dataset.split != "test":
            raise InputError("a probe learns, chooses and is tested on all splits; leave dataset.split out")
        model = run.model.resolved()
        check_reads_sequences(model)
        options = run.options("probe")
        options["probe"] = {key: value for key, value in options["probe"].items() if key not in _WITHOUT_NUMBERS}
        if run.asked.to_convergence:
            options["probe"]["fit"] = "convergence"  # records of an earlier version hold trained heads
        cell = cls(
            model=model,
            task=dataset.load_task(model.max_length, run.seed),
            recipe=run.asked,
            trainer=run.trainer,
            seed=run.seed,
            options=options,
            features=run.outputs / "features",
            tokens_per_batch=dataset.tokens_per_batch,
        )
        cell.check()  # before anything else runs: names wrong layers too
        return cell

    @property
    def announcement(self) -> str:
        """What features there will be."""
        return str(self.plan)

    def check(self) -> None:
        """Refuse a recipe that is not for the task, and features that cannot be had.

        Raises:
            InputError: it is not, or they cannot.
        """
        check_task(self.task, self.recipe)
        self.plan.check()

    def measure(self, staging: Path) -> Findings | None:
        """Train the heads; write them, their history, their scores and the ranking of layers."""
        from plmdepth.probes.layerwise.run import measure_heads  # noqa: PLC0415 (it knows the cell)

        return measure_heads(self, staging)


def check_task(task: Task, recipe: HeadRecipe) -> None:
    """Refuse a probe whose settings are for labels of residues on a task that has none, and labels that never vary.

    Raises:
        InputError: they are, and the labels are of proteins; or the labels are measurements; or all labels of train,
            valid or test are the same.
    """
    if task.is_regression:
        raise InputError(
            f"dataset={task.name}: the labels are measurements, and probes read classes; say "
            "dataset.task=classification where they are classes"
        )
    if recipe.residues_only and task.kind != "residue":
        raise InputError(f"probe={recipe.name} does not fit dataset={task.name}; use probe=linear or mlp")
    for split in (split for split in ("train", "valid", "test") if split in task.splits):
        counts, n = task.positives(split), len(task.splits[split])
        varies = (counts > 0) & (counts < n) if task.kind == "multilabel" else np.array([(counts > 0).sum() > 1])
        if not varies.any():
            same = ", ".join(name for name, count in zip(task.classes, counts, strict=True) if count) or "no class"
            raise InputError(
                f"dataset={task.name}: all labels of {split} are the same ({same[:60]}), so no layer can be "
                "told from another; give labels that vary"
            )


def check_all_layers(recipe: HeadRecipe) -> None:
    """Refuse a probe that has heads on some layers, for what reads all of them.

    Raises:
        InputError: layers were chosen.
    """
    if recipe.layers is not None:
        raise InputError(
            "exit=early needs heads on all layers, and this probe has them on those of probe.layers alone; "
            "train one with probe.layers=null"
        )
