"""One probe cell: heads on all layers of a frozen model, trained once and scored on every split."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import torch
from pytorch_lightning import Trainer

from plmdepth.analysis.tables import CurveLabels
from plmdepth.cells.cell import Findings
from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack
from plmdepth.metrics.accumulators import Estimate
from plmdepth.probes.layerwise.cell import ProbeCell
from plmdepth.probes.layerwise.composition import Composition, measure_composition
from plmdepth.probes.layerwise.cost import milliseconds_to_layer
from plmdepth.probes.layerwise.data import Passes, loader
from plmdepth.probes.layerwise.evaluation import clusters, evaluate, evaluation_batches
from plmdepth.probes.layerwise.features import check_pooling
from plmdepth.probes.layerwise.heads import LayerHeads, write_heads
from plmdepth.probes.layerwise.linear_fit import FittedLayers, RowShape, fit_linear_heads
from plmdepth.probes.layerwise.losses import loss_of
from plmdepth.probes.layerwise.plan import stack_shape
from plmdepth.probes.layerwise.ranking import LayerScores, curves_of, placed, ranked
from plmdepth.probes.layerwise.split_features import SplitFeatures
from plmdepth.probes.layerwise.training import HeadTraining
from plmdepth.proteins.tasks.task import Part
from plmdepth.results.collectives import start
from plmdepth.results.processes import is_first
from plmdepth.results.result import Measured

_TIMED = 64  # proteins whose layers are timed


def measure_heads(cell: ProbeCell, staging: Path) -> Findings | None:
    """Train the heads and write them, their history, their scores and the ranking of layers to ``staging``."""
    stack = load_stack(cell.model, cell.seed)
    if cell.pooling is not None:
        check_pooling(stack, cell.pooling)
    trainer = cell.trainer(max_epochs=cell.recipe.epochs, num_sanity_val_steps=0)
    _check_shared(cell, trainer.world_size)
    start(trainer)
    device = trainer.strategy.root_device
    stack.module.to(device)
    readers = SplitFeatures(cell, stack, device)
    readers.prepare()
    if cell.to_convergence and not is_first():
        return None  # features are what is shared
    heads, about = (_fit if cell.to_convergence else _train)(cell, stack, trainer, readers, staging)
    write_heads(heads, staging / "heads.safetensors", _about(cell))
    if not is_first():
        return None  # its share is done
    splits = _scores(cell, heads.to(device), readers)
    composition = measure_composition(cell.task, cell.seed, cell.recipe.n_replicates)
    _write(cell, stack, splits, _costs(cell, stack, device), staging)
    return _findings(cell, splits, composition, about, device)


def _check_shared(cell: ProbeCell, n_processes: int) -> None:
    """Refuse several processes where each would run the model on everything: what they share is the one pass of it."""
    if n_processes > 1 and not cell.plan.kept:
        raise InputError(
            "trainer=ddp shares the pass of the model whose features are kept, and these are not; raise "
            "probe.cache_gigabytes (with probe.cache=true), or use trainer=gpu or trainer=cpu"
        )


def _fit(
    cell: ProbeCell,
    stack: LayerStack,
    trainer: Trainer,
    readers: SplitFeatures,
    staging: Path,  # noqa: ARG001 (as `_train`)
) -> tuple[LayerHeads, dict[str, Any]]:
    """Return heads that are fitted to convergence, and what the record says of that."""
    heads, device = cell.untrained_heads(stack.width), trainer.strategy.root_device
    by_residue = cell.plan.n_residues is not None
    fitted = fit_linear_heads(
        heads, cell.task, readers.of, RowShape(stack.width, by_residue, cell.tokens_per_batch), cell.seed, device
    )
    return heads, _fitting(fitted)


def _train(
    cell: ProbeCell, stack: LayerStack, trainer: Trainer, readers: SplitFeatures, staging: Path
) -> tuple[LayerHeads, dict[str, Any]]:
    """Return trained heads, and what the record says of that."""
    recipe, task = cell.recipe, cell.task
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cell.seed)
        module = HeadTraining(cell.untrained_heads(stack.width), loss_of(task.kind), recipe)
        train, valid = (
            loader(readers.of(split), Passes(len(task.splits[split]), recipe.batch_size, seed))
            for split, seed in (("train", cell.seed), ("valid", None))
        )
        trainer.fit(module, train, valid)
    module.to("cpu")
    pd.DataFrame(module.history).to_parquet(staging / "history.parquet", index=False)
    return module.heads, _fitting(module)


def _fitting(fitted: FittedLayers | HeadTraining) -> dict[str, Any]:
    """Return how the heads were fitted, and whether each came to its end."""
    return {"fit": fitted.facts(), "converged": {str(layer): done for layer, done in fitted.converged.items()}}


def _about(cell: ProbeCell) -> dict[str, str]:
    """Return what heads belong to."""
    return {"weights": cell.weights, "task": cell.task.digest, "layers": ",".join(map(str, cell.layers))}


def _scores(cell: ProbeCell, heads: LayerHeads, readers: SplitFeatures) -> list[LayerScores]:
    """Return the scores on every part of the task."""
    n_layers = stack_shape(cell.model)[0]
    return [
        LayerScores(
            part.name,
            placed(_scores_on(cell, heads, readers, part), cell.layers, n_layers),
            cell.layers,
            clusters(cell.task.splits[part.split], part.places),
        )
        for part in cell.task.parts
    ]


def _scores_on(cell: ProbeCell, heads: LayerHeads, readers: SplitFeatures, part: Part) -> Mapping[str, Estimate]:
    labelled, kind = cell.task.splits[part.split], cell.task.kind
    batches = evaluation_batches(labelled, part.places, cell.plan.n_residues is not None, cell.tokens_per_batch)
    return evaluate(heads, readers.of(part.split), labelled, kind, cell.seed, cell.recipe.n_replicates, batches)


def _costs(cell: ProbeCell, stack: LayerStack, device: torch.device) -> list[float]:
    proteins = [each.protein for each in cell.task.splits["test"][:_TIMED]]
    return milliseconds_to_layer(stack, proteins, cell.tokens_per_batch, device)


def _write(cell: ProbeCell, stack: LayerStack, splits: list[LayerScores], costs: list[float], staging: Path) -> None:
    """Write curves and the ranking."""
    labels = CurveLabels.of(cell.model, stack, cell.model.objective, cell.task.name)
    pq.write_table(curves_of(splits, labels), staging / "curves.parquet")
    ranked(splits, cell.task.metrics[0], costs).to_csv(staging / "layers.csv", index=False)


def _findings(
    cell: ProbeCell,
    splits: list[LayerScores],
    composition: Composition,
    fitting: Mapping[str, Any],
    device: torch.device,
) -> Findings:
    task, metric = cell.task, cell.task.metrics[0]
    scalars: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    for split in splits:
        found = split.answers(metric, splits[0])
        found |= composition.answers(split, metric, layer=int(found["best_layer"][0] or 0))
        scalars |= {name: value for name, (value, _) in found.items()}
        intervals |= {name: interval for name, (_, interval) in found.items()}
    about = {
        "kind": task.kind,
        "metric": metric,
        "classes": list(task.classes),
        "proteins": {split: len(members) for split, members in task.splits.items()},
        "classes_without_a_positive_in_train": list(task.without_positive()),
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
    return Findings(scalars, intervals, measured, {"task": about, "composition": composition.facts(), **fitting})
