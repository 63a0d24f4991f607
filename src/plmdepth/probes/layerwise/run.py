"""One probe cell: heads on all layers of a frozen model, trained once and scored on every split."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import torch
from pytorch_lightning import Trainer

from plmdepth.analysis.tables import CurveLabels, curve_table
from plmdepth.errors import InputError
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack, weights_digest
from plmdepth.metrics.accumulators import Estimate
from plmdepth.probes.layerwise.cost import milliseconds_to_layer
from plmdepth.probes.layerwise.data import Passes, loader
from plmdepth.probes.layerwise.evaluation import evaluate
from plmdepth.probes.layerwise.features import check_pooling
from plmdepth.probes.layerwise.heads import LayerHeads, write_heads
from plmdepth.probes.layerwise.losses import loss_of
from plmdepth.probes.layerwise.ranking import ScoredSplit, quantities_of, ranked
from plmdepth.probes.layerwise.readers import Readers
from plmdepth.probes.layerwise.recipe import HeadRecipe
from plmdepth.probes.layerwise.training import HeadTraining
from plmdepth.proteins.tasks.task import Task
from plmdepth.results.atomic import write_json
from plmdepth.results.cell_folder import writing_cell
from plmdepth.results.identity import SCHEMA, Identity
from plmdepth.results.provenance import environment

_TIMED = 64  # proteins whose layers are timed


@dataclass(frozen=True)
class ProbeCell:
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

    @cached_property
    def identity(self) -> Identity:
        """What determines the heads of this cell."""
        facts = {"model": self.model.facts(), "weights": self.weights, "task": self.task.digest, "seed": self.seed}
        return Identity("train", self.model.name, self.task.name, self.recipe.name, facts | dict(self.options))


def run_probe_cell(cell: ProbeCell, folder: Path, config: str, draw: Callable[[Path], object] | None = None) -> None:
    """Train the heads and write them, their history, their scores and the ranking of layers to ``folder``.

    Args:
        cell: the cell.
        folder: its folder.
        config: the resolved configuration.
        draw: adds figures to a folder with all other files of the record.
    """
    check_task(cell.task, cell.recipe)
    with writing_cell(folder, config) as staging:
        started = time.perf_counter()
        stack = load_stack(cell.model, cell.seed)
        check_pooling(stack, cell.recipe.pooling)
        trainer = cell.trainer(max_epochs=cell.recipe.epochs, num_sanity_val_steps=0)
        device = trainer.strategy.root_device
        stack.module.to(device)
        readers = Readers(cell, stack, device)
        module = _train(cell, stack, trainer, readers, staging)
        splits = _scores(cell, module.heads, readers)
        _write(cell, stack, splits, _costs(cell, stack, device), staging)
        about = {**environment(), "device": str(device), "dtype": cell.model.dtype}
        write_json(staging / "result.json", _result(cell, folder, splits, about, time.perf_counter() - started))
        if draw is not None:
            draw(staging)


def check_task(task: Task, recipe: HeadRecipe) -> None:
    """Refuse a probe that does not read this kind of label.

    Raises:
        InputError: the probe reads proteins and the labels are of residues, or the other way round.
    """
    if (task.kind == "residue") != recipe.reads_residues:
        wanted = "residue_linear or residue_mlp" if task.kind == "residue" else "linear or mlp"
        raise InputError(f"probe={recipe.name} does not fit dataset={task.name}; use probe={wanted}")


def _train(cell: ProbeCell, stack: LayerStack, trainer: Trainer, readers: Readers, staging: Path) -> HeadTraining:
    recipe, task = cell.recipe, cell.task
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cell.seed)
        heads = LayerHeads(recipe.head, stack.n_layers + 1, stack.width, len(task.classes))
        module = HeadTraining(heads, loss_of(task.kind), recipe)
        train, valid = (
            loader(readers.of(split), Passes(len(task.splits[split]), recipe.batch_size, seed))
            for split, seed in (("train", cell.seed), ("valid", None))
        )
        trainer.fit(module, train, valid)
    module.to("cpu")
    pd.DataFrame(module.history).to_parquet(staging / "history.parquet", index=False)
    write_heads(module.heads, staging / "heads.safetensors", {"weights": cell.weights, "task": task.digest})
    return module


def _scores(cell: ProbeCell, heads: LayerHeads, readers: Readers) -> list[ScoredSplit]:
    """Return the scores on every split but the one that was trained on."""
    task, recipe = cell.task, cell.recipe
    return [
        ScoredSplit(split, evaluate(heads, readers.of(split), labelled, task.kind, cell.seed, recipe.n_replicates))
        for split, labelled in task.splits.items()
        if split != "train"
    ]


def _costs(cell: ProbeCell, stack: LayerStack, device: torch.device) -> list[float]:
    proteins = [each.protein for each in cell.task.splits["test"][:_TIMED]]
    return milliseconds_to_layer(stack, proteins, cell.tokens_per_batch, device)


def _write(cell: ProbeCell, stack: LayerStack, splits: list[ScoredSplit], costs: list[float], staging: Path) -> None:
    """Write curves and the ranking."""
    labels = CurveLabels(
        model=cell.model.name,
        family=cell.model.family,
        parameters=stack.n_parameters,
        n_layers=stack.n_layers,
        objective=cell.model.objective,
        dataset=cell.task.name,
    )
    stacked = Estimate(*(torch.stack(parts) for parts in zip(*_estimates(splits), strict=True)))
    pq.write_table(curve_table(stacked, quantities_of(splits), labels), staging / "curves.parquet")
    ranked(splits, cell.task.metrics[0], costs).to_csv(staging / "layers.csv", index=False)


def _estimates(splits: list[ScoredSplit]) -> list[Estimate]:
    return [estimate for split in splits for estimate in split.scores.values()]


def _result(
    cell: ProbeCell, folder: Path, splits: list[ScoredSplit], about: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    task = cell.task
    scalars: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    for split in splits:
        found = split.answers(task.metrics[0], splits[0])
        scalars |= {name: value for name, (value, _) in found.items()}
        intervals |= {name: interval for name, (_, interval) in found.items()}
    return {
        "schema": SCHEMA,
        "identity": {"id": folder.name, **cell.identity.facts},
        "scalars": scalars,
        "scalar_intervals": intervals,
        "task": {
            "kind": task.kind,
            "metric": task.metrics[0],
            "classes": list(task.classes),
            "proteins": {split: len(members) for split, members in task.splits.items()},
            "classes_without_a_positive_in_train": list(task.without_positive()),
            "dropped": dict(task.dropped),
        },
        "provenance": {
            **about,
            "wall_seconds": round(seconds, 3),
            "sequences_measured": sum(len(members) for members in task.splits.values()),
            "sequences_skipped": dict(task.dropped),
            "letters_changed": dict(task.changes),
        },
    }
