"""A trained probe, ready to be left early: the model, its heads, and the logits of all heads for a split in one pass.

Proteins leave by all of their residues, also those without a label, as they would at inference; scores are taken over
those with one. Logits are kept, never states: ``4 layers rows classes`` bytes for each split, 220 MB for 34 layers,
half a million residues and three classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from plmdepth.early_exit.inference import EarlyExit, HeadInputs, ProteinInputs, ResidueInputs, batched_parts
from plmdepth.early_exit.policy import Fallback, ProteinConfidence
from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack, LayerView, Need
from plmdepth.language_models.weights import load_stack
from plmdepth.probes.layerwise.cell import ProbeCell
from plmdepth.probes.layerwise.data import label_tensor
from plmdepth.probes.layerwise.features import POOLS, spelt
from plmdepth.probes.layerwise.heads import LayerHeads, read_heads
from plmdepth.probes.layerwise.losses import probabilities
from plmdepth.probes.layerwise.split_features import SplitFeatures
from plmdepth.proteins.batches import token_budget_batches
from plmdepth.proteins.tasks.task import Labelled, Task
from plmdepth.scores.temperature import fit_sigmoid_temperatures, fit_softmax_temperatures

HEADS_FILE = "heads.safetensors"
_TWO, _THREE = ("MKTV", "M"), ("MKTV", "M", "MK")  # batches of one width, with padding
_BATCH = 256
_GIGABYTE = 10**9
_COPIES = 3  # logits, probabilities, and either the plain ones or what is ranked


@dataclass(frozen=True)
class TrainedProbe:
    """A trained probe.

    Attributes:
        cell: what it was trained on, and how.
        stack: the model.
        heads: the heads.
        device: where both are.
        temperatures: what each layer's logits are divided by, ``[layer]``.
    """

    cell: ProbeCell
    stack: LayerStack
    heads: LayerHeads
    device: torch.device
    temperatures: Tensor

    @property
    def inputs(self) -> HeadInputs:
        """How states become what the heads take, as in training."""
        return (
            ResidueInputs(self.stack.spelling) if self.cell.task.kind == "residue" else ProteinInputs(self.heads.pool)
        )

    def predict(self, layer: int, rows: Tensor) -> Tensor:
        """Return probabilities ``[row, class]`` of a head's inputs, ``[row, feature]``."""
        logits = self.heads.read(layer, rows) / float(self.temperatures[layer])
        return probabilities(logits, self.cell.task.kind)

    def early_exit(self, confidence: ProteinConfidence, threshold: float, fallback: Fallback) -> EarlyExit:
        """Return the model that is left at a threshold."""
        few, more = (spelt(self.stack, each, self.device) for each in (_TWO, _THREE))
        parts = batched_parts(self.stack, few, more)
        return EarlyExit(self.stack, self.inputs, self.predict, confidence, threshold, fallback, parts, self.device)


def load_probe(cell: ProbeCell, run: Path) -> TrainedProbe:
    """Load the model and the heads of a finished probe cell.

    Raises:
        InputError: the heads belong to other weights or another task.
    """
    with safe_open(run / HEADS_FILE, "pt") as file:
        metadata = file.metadata()
    for name, now in (("weights", cell.weights), ("task", cell.task.digest)):
        if metadata.get(name) != now:
            raise InputError(f"probe_run={run}: the {name} changed since; train the probe again with force=true")
    stack = load_stack(cell.model, cell.seed)
    device = cell.trainer().strategy.root_device
    stack.module.to(device)
    heads = read_heads(cell.untrained_heads(stack.width), run / HEADS_FILE).to(device)
    return TrainedProbe(cell, stack, heads, device, torch.ones(stack.n_layers + 1, dtype=torch.float64))


class HeadLogits(NamedTuple):
    """The logits of all heads for a split, before temperatures.

    Attributes:
        logits: ``[layer, row, class]``: one row a protein, or one a residue.
        labels: of every row; -1 where a residue is not scored.
        counts: rows of each protein, ``[protein]``.
    """

    logits: Tensor
    labels: Tensor
    counts: Tensor


def check_memory(task: Task, splits: Sequence[str], n_layers: int, gigabytes: float) -> None:
    """Refuse answers that would not fit.

    Args:
        task: the task.
        splits: what is predicted.
        n_layers: L.
        gigabytes: most that they may take.

    Raises:
        InputError: they would take more.
    """
    rows = sum(int(_row_counts(task, task.splits[split]).sum()) for split in splits)
    size = 4 * _COPIES * (n_layers + 1) * rows * len(task.classes) / _GIGABYTE
    if size > gigabytes:
        raise InputError(
            f"the answers of all heads take {size:.2f} GB, exit.memory_gigabytes is {gigabytes}; raise it, or train "
            "the probe on a task with fewer proteins in valid and test"
        )


def head_logits(probe: TrainedProbe, split: str) -> HeadLogits:
    """Return the logits of all heads for a split."""
    task, labelled = probe.cell.task, probe.cell.task.splits[split]
    counts = _row_counts(task, labelled)
    if probe.cell.pooling in POOLS:
        return HeadLogits(*_logits_of_features(probe, split), counts)
    is_residue = task.kind == "residue"
    labels = (
        torch.from_numpy(np.concatenate([e.label for e in labelled])).long() if is_residue else label_tensor(labelled)
    )
    return HeadLogits(_logits_of_states(probe, labelled, counts), labels, counts)


def fitted_temperatures(probe: TrainedProbe, valid: HeadLogits) -> Tensor:
    """Return one temperature a layer, fitted on the labels of validation."""
    fit = fit_sigmoid_temperatures if probe.cell.task.kind == "multilabel" else fit_softmax_temperatures
    return fit(valid.logits, valid.labels)


def _row_counts(task: Task, labelled: Sequence[Labelled]) -> Tensor:
    """Return the number of rows of every protein, ``[protein]``."""
    return torch.tensor([len(each.protein) if task.kind == "residue" else 1 for each in labelled])


@torch.no_grad()
def _logits_of_features(probe: TrainedProbe, split: str) -> tuple[Tensor, Tensor]:
    """Return logits ``[layer, protein, class]`` and labels, from features that are kept if the probe keeps them."""
    n, read = len(probe.cell.task.splits[split]), SplitFeatures(probe.cell, probe.stack, probe.device).of(split)
    parts = [read(range(start, min(start + _BATCH, n))) for start in range(0, n, _BATCH)]
    logits = [probe.heads.predict(features.to(probe.device)).cpu() for features, _ in parts]
    return torch.cat(logits).transpose(0, 1), torch.cat([labels for _, labels in parts])


@torch.no_grad()
def _logits_of_states(probe: TrainedProbe, labelled: Sequence[Labelled], counts: Tensor) -> Tensor:
    """Return logits ``[layer, row, class]``: the model runs, and the heads take each state as it is made."""
    found = torch.empty(probe.stack.n_layers + 1, int(counts.sum()), len(probe.cell.task.classes))
    ends = counts.cumsum(0)
    for batch in token_budget_batches([len(each.protein) for each in labelled], probe.cell.tokens_per_batch):
        tokens = spelt(probe.stack, [labelled[i].protein.sequence for i in batch], probe.device)
        heads = _HeadObserver(probe, probe.inputs.places(tokens))
        probe.stack.run(tokens, [heads])
        rows = torch.cat([torch.arange(int(ends[i] - counts[i]), int(ends[i])) for i in batch])
        found[:, rows] = torch.stack(heads.logits).cpu()
    return found


class _HeadObserver:
    """Keeps the logits of the heads for every state."""

    needs: frozenset[Need] = frozenset({"states"})

    def __init__(self, probe: TrainedProbe, places: Tensor) -> None:
        self._probe, self._places = probe, places
        self.logits: list[Tensor] = []

    def embedded(self, state: Tensor) -> None:
        self._keep(0, state)

    def observe(self, view: LayerView) -> None:
        self._keep(view.layer, view.state)

    def _keep(self, layer: int, state: Tensor) -> None:
        rows = self._probe.inputs.rows(layer, state, self._places)
        self.logits.append(self._probe.heads.read(layer, rows).float())
