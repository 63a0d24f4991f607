"""One contact cell: a regression on the attention of every layer of a frozen model, fitted once and scored."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow.parquet as pq
import torch
from pytorch_lightning import Trainer

from plmdepth.analysis.tables import CurveLabels, curve_table
from plmdepth.cells.cell import Cell, Findings
from plmdepth.cells.context import RunContext
from plmdepth.errors import InputError
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack, weights_digest
from plmdepth.metrics.accumulators import Estimate
from plmdepth.probes.contacts.features import check_attention
from plmdepth.probes.contacts.precision import MAIN, MAIN_RANGE, QUANTITIES, left_out
from plmdepth.probes.contacts.recipe import LEAST_SEPARATION, ContactRecipe
from plmdepth.probes.contacts.regression import LayerRegressions
from plmdepth.probes.contacts.scoring import BASELINES, ContactScores, scored
from plmdepth.probes.contacts.training import TrainingPlan, fit_layers, planned
from plmdepth.probes.layerwise.cost import milliseconds_to_layer
from plmdepth.probes.layerwise.ranking import LayerScores, ranked
from plmdepth.probes.sequence_models import check_reads_sequences
from plmdepth.proteins.datasets.contact import ContactDataset
from plmdepth.proteins.tasks.contacts import ContactTask
from plmdepth.results.identity import Identity
from plmdepth.results.result import Measured
from plmdepth.scores.bootstrap import difference

_WITHOUT_NUMBERS = ("gigabytes",)  # decides how often proteins are run, never a number
_TIMED = 64  # proteins whose layers are timed
_SEPARATION = BASELINES.index("separation") - len(BASELINES)  # its row, from the end


@dataclass(frozen=True)
class ContactCell(Cell):
    """One cell: model x contacts x probe (x seed).

    Attributes:
        model: the model; it stays as it is.
        task: the proteins with their contacts.
        recipe: how contacts are read off attention.
        trainer: makes the trainer, which knows the device.
        seed: the run's seed.
        options: the options that decide numbers.
        tokens_per_batch: most tokens that the model reads at once while it is timed.
    """

    model: LanguageModel
    task: ContactTask
    recipe: ContactRecipe
    trainer: Callable[..., Trainer]
    seed: int
    options: Mapping[str, Any]
    tokens_per_batch: int

    @cached_property
    def identity(self) -> Identity:
        """What determines the numbers of this cell."""
        facts = {
            "model": self.model.facts(),
            "weights": weights_digest(self.model, self.seed),
            "task": self.task.digest,
            "seed": self.seed,
        }
        return Identity("train", self.model.name, self.task.name, self.recipe.name, facts | dict(self.options))

    @classmethod
    def of(cls, run: RunContext) -> Self:
        """Return the cell of a recipe.

        Raises:
            InputError: something in the configuration is wrong.
        """
        dataset = run.dataset
        if not isinstance(dataset, ContactDataset):
            raise InputError(f"dataset={dataset.name} has no contacts; these have: {run.datasets_of(ContactDataset)}")
        model = run.model.resolved()
        check_reads_sequences(model)
        task = dataset.load_task(model.max_length, run.seed)
        check_contacts(task)
        return cls(
            model=model,
            task=task,
            recipe=run.asked,
            trainer=run.trainer,
            seed=run.seed,
            options={"probe": {k: v for k, v in run.deciding["probe"].items() if k not in _WITHOUT_NUMBERS}},
            tokens_per_batch=dataset.tokens_per_batch,
        )

    @property
    def announcement(self) -> str:
        """How the budget of memory is kept."""
        return str(self.plan())

    def check(self) -> None:
        """Refuse a model that has no attention over whole proteins, and a task from which nothing can be learnt.

        Raises:
            InputError: it is one, or the budget of memory cannot be kept.
        """
        check_reads_sequences(self.model)
        check_contacts(self.task)
        self.plan()

    def measure(self, staging: Path) -> Findings:
        """Fit the regressions; write them, their scores and the ranking of layers."""
        plan, stack = self.plan(), load_stack(self.model, self.seed)
        device = self.trainer().strategy.root_device
        stack.module.to(device)
        check_attention(stack, self.model, device)
        regressions = fit_layers(stack, self.task.splits["train"], self.recipe, plan, self.seed, device)
        regressions.write(staging / "regressions.safetensors")
        splits = [
            scored(stack, regressions, name, self.task.splits[name], self.seed, self.recipe.n_replicates, device)
            for name in ("valid", "test")
        ]
        _write(self, stack, splits, _costs(self, stack, device), staging)
        return _findings(self, splits, _training(plan, regressions), device)

    def plan(self) -> TrainingPlan:
        """Return how the budget of memory is kept.

        Raises:
            InputError: it cannot be kept.
        """
        n_pairs = sum(len(each.pairs(LEAST_SEPARATION).first) for each in self.task.splits["train"])
        return planned(self.recipe, n_pairs, self.model.n_layers, self.model.n_heads)


def check_contacts(task: ContactTask) -> None:
    """Refuse a task from which nothing can be learnt, or on which nothing can be scored.

    Raises:
        InputError: no pair of train is in contact, or all are; or no protein of valid or test has a main score.
    """
    contact = [pair for each in task.splits["train"] for pair in set(each.pairs(LEAST_SEPARATION).contact.tolist())]
    if set(contact) != {False, True}:
        which = "all" if True in contact else "none"
        raise InputError(
            f"dataset={task.name}: of the training pairs {LEAST_SEPARATION} or more apart {which} are in contact; "
            "raise dataset.train_proteins or give longer chains"
        )
    for split in ("valid", "test"):
        reasons = left_out(task.splits[split])[0]
        if sum(reasons.values()) == len(task.splits[split]):
            why = ", ".join(f"{reason} in {count}" for reason, count in reasons.items())
            raise InputError(
                f"dataset={task.name}: no protein of {split} has a {MAIN} of {MAIN_RANGE}-range pairs ({why}); "
                "give more or longer chains"
            )


def _costs(cell: ContactCell, stack: LayerStack, device: torch.device) -> list[float]:
    proteins = [each.protein for each in cell.task.splits["test"][:_TIMED]]
    return milliseconds_to_layer(stack, proteins, cell.tokens_per_batch, device)


def _write(
    cell: ContactCell, stack: LayerStack, splits: list[ContactScores], costs: list[float], staging: Path
) -> None:
    """Write the curves of test and the ranking of layers 1..L."""
    labels = CurveLabels.of(cell.model, stack, cell.model.objective, cell.task.name)
    pq.write_table(curve_table(splits[-1].layers(), QUANTITIES, labels), staging / "curves.parquet")
    layers_table(splits, costs).to_csv(staging / "layers.csv", index=False)


def layers_table(splits: list[ContactScores], milliseconds: list[float]) -> pd.DataFrame:
    """Return one row a layer from 1 on, the best on valid first: the columns of `ranked`, and the paired difference to
    the regression on the separation alone, with its interval.
    """  # noqa: D205 (one sentence)
    table = ranked(_main(splits), MAIN, milliseconds)
    table = table[table["layer"] > 0].reset_index(drop=True)
    for split in splits:
        apart = difference(split.rows(0), _SEPARATION)
        for end, found in (("", apart.value), ("_low", apart.low), ("_high", apart.high)):
            column = f"{split.name}_difference_to_separation{end}"
            table[column] = [float(found[layer - 1]) for layer in table["layer"]]
    return table


def _main(splits: list[ContactScores]) -> list[LayerScores]:
    return [
        LayerScores(split.name, {MAIN: Estimate(*(part[..., 0, :] for part in split.layers()))}) for split in splits
    ]


def _findings(
    cell: ContactCell, splits: list[ContactScores], training: Mapping[str, Any], device: torch.device
) -> Findings:
    task = cell.task
    valid, test = _main(splits)
    found = test.answers(MAIN, valid)
    best = int(found["best_layer"][0] or 0) - 1
    for baseline, index in zip(BASELINES, range(-len(BASELINES), 0), strict=True):
        found[f"test_{MAIN}_{baseline}"] = _answer(splits[-1].rows(0), index)
    found[f"test_{MAIN}_over_separation"] = _answer(difference(splits[-1].rows(0), _SEPARATION), best)
    about = {
        "kind": "contact",
        "metric": MAIN,
        "range": MAIN_RANGE,
        "proteins": {split: len(members) for split, members in task.splits.items()},
        "left_out": {split: _left_out(task, split) for split in ("valid", "test")},
        "dropped": dict(task.dropped),
    }
    measured = Measured(
        device=str(device),
        dtype=cell.model.dtype,
        sequences_measured=sum(len(members) for members in task.splits.values()),
        sequences_skipped=task.dropped,
        letters_changed=task.changes,
        notes=task.notes,
    )
    return Findings(
        scalars={name: value for name, (value, _) in found.items()},
        intervals={name: interval for name, (_, interval) in found.items()},
        measured=measured,
        sections={"task": about, "training": dict(training), "baselines": _baselines(splits[-1])},
    )


def _training(plan: TrainingPlan, regressions: LayerRegressions) -> dict[str, Any]:
    return {
        "pairs": plan.n_pairs,
        "pairs_available": plan.n_available,
        "gigabytes": round(plan.gigabytes, 6),
        "passes": len(plan.passes),
        "layers_without_weight": list(regressions.weightless),
        "layers_not_converged": list(regressions.unconverged),
    }


def _left_out(task: ContactTask, split: str) -> list[dict[str, Any]]:
    """Return how many proteins have no value, and why, wherever any has none."""
    return [
        {"quantity": quantity.name, "component": quantity.component, "reason": reason, "proteins": count}
        for quantity, counts in zip(QUANTITIES, left_out(task.splits[split]), strict=True)
        for reason, count in sorted(counts.items())
    ]


def _baselines(test: ContactScores) -> list[dict[str, Any]]:
    """Return every quantity of every baseline on test."""
    found = []
    for number, quantity in enumerate(QUANTITIES):
        for baseline, row in zip(BASELINES, range(-len(BASELINES), 0), strict=True):
            value, interval = _answer(test.rows(number), row)
            about = {"baseline": baseline, "quantity": quantity.name, "component": quantity.component}
            found.append({**about, "value": value, "interval": interval, "n": int(test.rows(number).n[row])})
    return found


def _answer(found: Estimate, row: int) -> tuple[float | None, dict[str, float] | None]:
    value, low, high = (float(part[row]) for part in (found.value, found.low, found.high))
    interval = {"low": low, "high": high} if math.isfinite(low) and math.isfinite(high) else None
    return (value if math.isfinite(value) else None), interval
