"""What all heads of a trained probe say of a split, in one pass, kept for leaving on paper at any threshold.

Proteins leave by all of their residues, also those without a label, as they would at inference; scores are taken over
those with one. Answers are kept, never states: ``4 layers rows classes`` bytes for each split, 220 MB for 34 layers,
half a million residues and three classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from plmdepth.early_exit.confidence import ProteinConfidence
from plmdepth.early_exit.study import Said
from plmdepth.early_exit.trained import TrainedProbe
from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerView, Need
from plmdepth.probes.layerwise.data import label_tensor
from plmdepth.probes.layerwise.features import POOLS, spelt
from plmdepth.probes.layerwise.losses import probabilities
from plmdepth.probes.layerwise.readers import Readers
from plmdepth.proteins.batches import token_budget_batches
from plmdepth.proteins.tasks.task import Labelled, Task
from plmdepth.scores.temperature import fit_sigmoid_temperatures, fit_softmax_temperatures

_BATCH = 256
_GIGABYTE = 10**9
_COPIES = 3  # logits, probabilities, and either the plain ones or what is ranked


class Spoken(NamedTuple):
    """What all heads say of a split, before temperatures.

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
        splits: what is read.
        n_layers: L.
        gigabytes: most that they may take.

    Raises:
        InputError: they would take more.
    """
    rows = sum(int(_counts(task, task.splits[split]).sum()) for split in splits)
    size = 4 * _COPIES * (n_layers + 1) * rows * len(task.classes) / _GIGABYTE
    if size > gigabytes:
        raise InputError(
            f"the answers of all heads take {size:.2f} GB, exit.memory_gigabytes is {gigabytes}; raise it, or train "
            "the probe on a task with fewer proteins in valid and test"
        )


def listen(probe: TrainedProbe, split: str) -> Spoken:
    """Return what all heads say of a split."""
    labelled = probe.cell.task.splits[split]
    counts = _counts(probe.cell.task, labelled)
    if probe.cell.pooling in POOLS:
        return Spoken(*_of_vectors(probe, split), counts)
    return Spoken(_as_it_runs(probe, labelled, counts), _labels(probe.cell.task, labelled), counts)


def said_of(probe: TrainedProbe, split: str, spoken: Spoken, rule: ProteinConfidence, n_replicates: int) -> Said:
    """Return what the heads say at the probe's temperatures.

    Args:
        probe: the probe.
        split: what was read.
        spoken: what they say before temperatures.
        rule: how sure they are of a protein.
        n_replicates: bootstrap replicates of its scores.
    """
    task, proteins = probe.cell.task, [each.protein for each in probe.cell.task.splits[split]]
    found = probabilities(spoken.logits / probe.temperatures[:, None, None].float(), task.kind)
    return Said(found, spoken.labels, spoken.counts, proteins, task.kind, rule, probe.cell.seed, n_replicates)


def fitted_temperatures(probe: TrainedProbe, spoken: Spoken) -> Tensor:
    """Return one temperature a layer, fitted on the labels of validation."""
    fit = fit_sigmoid_temperatures if probe.cell.task.kind == "multilabel" else fit_softmax_temperatures
    return fit(spoken.logits, spoken.labels)


def _counts(task: Task, labelled: Sequence[Labelled]) -> Tensor:
    """Return the number of rows of every protein, ``[protein]``."""
    return torch.tensor([len(each.protein) if task.kind == "residue" else 1 for each in labelled])


def _labels(task: Task, labelled: Sequence[Labelled]) -> Tensor:
    """Return the label of every row."""
    if task.kind == "residue":
        return torch.from_numpy(np.concatenate([each.label for each in labelled])).long()
    return label_tensor(labelled)


@torch.no_grad()
def _of_vectors(probe: TrainedProbe, split: str) -> tuple[Tensor, Tensor]:
    """Return logits ``[layer, protein, class]`` and labels, from features that are kept if the probe keeps them."""
    n, read = len(probe.cell.task.splits[split]), Readers(probe.cell, probe.stack, probe.device).of(split)
    parts = [read(range(start, min(start + _BATCH, n))) for start in range(0, n, _BATCH)]
    logits = [probe.heads(features.to(probe.device)).cpu() for features, _ in parts]
    return torch.cat(logits).transpose(0, 1), torch.cat([labels for _, labels in parts])


@torch.no_grad()
def _as_it_runs(probe: TrainedProbe, labelled: Sequence[Labelled], counts: Tensor) -> Tensor:
    """Return logits ``[layer, row, class]``: the model runs, and the heads read each state as it is made."""
    found = torch.empty(probe.stack.n_layers + 1, int(counts.sum()), len(probe.cell.task.classes))
    ends = counts.cumsum(0)
    for batch in token_budget_batches([len(each.protein) for each in labelled], probe.cell.tokens_per_batch):
        tokens = spelt(probe.stack, [labelled[i].protein.sequence for i in batch], probe.device)
        speaking = _Speaking(probe, probe.reader.places(tokens))
        probe.stack.run(tokens, [speaking])
        rows = torch.cat([torch.arange(int(ends[i] - counts[i]), int(ends[i])) for i in batch])
        found[:, rows] = torch.stack(speaking.logits).cpu()
    return found


class _Speaking:
    """Keeps what the heads say of every state."""

    needs: frozenset[Need] = frozenset({"states"})

    def __init__(self, probe: TrainedProbe, places: Tensor) -> None:
        self._probe, self._places = probe, places
        self.logits: list[Tensor] = []

    def embedded(self, state: Tensor) -> None:
        self._read(0, state)

    def observe(self, view: LayerView) -> None:
        self._read(view.layer, view.state)

    def _read(self, layer: int, state: Tensor) -> None:
        rows = self._probe.reader.rows(layer, state, self._places)
        self.logits.append(self._probe.heads.read(layer, rows).float())
