"""A probe that has been trained, ready to be left early: the model, its heads and how they read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack
from plmdepth.probes.exits.inference import EarlyExit
from plmdepth.probes.exits.policy import Fallback, confidence_of
from plmdepth.probes.layerwise.heads import LayerHeads, read_heads
from plmdepth.probes.layerwise.losses import probabilities
from plmdepth.probes.layerwise.readers import Readers
from plmdepth.probes.layerwise.run import ProbeCell
from plmdepth.probes.scores.temperature import fit_sigmoid_temperatures, fit_softmax_temperatures

_BATCH = 256
HEADS_FILE = "heads.safetensors"


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

    def predict(self, layer: int, pooled: Tensor) -> Tensor:
        """Return probabilities ``[protein, class]`` of pooled states ``[protein, feature]``."""
        logits = self.heads.read(layer, pooled) / float(self.temperatures[layer])
        return probabilities(logits, self.cell.task.kind)

    def pool(self, state: Tensor, residues: Tensor) -> Tensor:
        """Return what heads read of ``[protein, token, feature]``, as in training."""
        if self.cell.recipe.pooling == "cls":
            return state[:, 0].float()
        weights = residues.float() / residues.sum(1, keepdim=True)
        return torch.einsum("btf,bt->bf", state.float(), weights)

    def leaving(self, threshold: float, fallback: Fallback) -> EarlyExit:
        """Return the model that is left at a threshold."""
        return EarlyExit(self.stack, self.pool, self.predict, confidence_of, threshold, fallback, self.device)

    @torch.no_grad()
    def logits(self, readers: Readers, split: str) -> tuple[Tensor, Tensor]:
        """Return what all heads say of a split, ``[layer, protein, class]``, before temperatures, and the labels."""
        n, read = len(self.cell.task.splits[split]), readers.of(split)
        parts = [read(range(start, min(start + _BATCH, n))) for start in range(0, n, _BATCH)]
        logits = [self.heads(features.to(self.device)).cpu() for features, _ in parts]
        return torch.cat(logits).transpose(0, 1), torch.cat([labels for _, labels in parts])


def load_probe(cell: ProbeCell, run: Path) -> TrainedProbe:
    """Load the model and the heads of a finished probe cell.

    Raises:
        InputError: the heads belong to other weights or another task, or read residues.
    """
    if cell.recipe.reads_residues:
        raise InputError(f"probe_run={run}: labels of residues cannot leave early; choose a run of probe=linear or mlp")
    with safe_open(run / HEADS_FILE, "pt") as file:
        metadata = file.metadata()
    for name, now in (("weights", cell.weights), ("task", cell.task.digest)):
        if metadata.get(name) != now:
            raise InputError(f"probe_run={run}: the {name} changed since; train the probe again with force=true")
    stack = load_stack(cell.model, cell.seed)
    device = cell.trainer().strategy.root_device
    stack.module.to(device)
    heads = LayerHeads(cell.recipe.head, stack.n_layers + 1, stack.width, len(cell.task.classes))
    return TrainedProbe(cell, stack, read_heads(heads, run / HEADS_FILE).to(device), device, _ones(stack))


def fitted_temperatures(probe: TrainedProbe, logits: Tensor, labels: Tensor) -> Tensor:
    """Return one temperature a layer, fitted on validation: logits ``[layer, protein, class]``."""
    fit = fit_sigmoid_temperatures if probe.cell.task.kind == "multilabel" else fit_softmax_temperatures
    return fit(logits, labels)


def said_with(logits: Tensor, temperatures: Tensor, probe: TrainedProbe) -> Tensor:
    """Return probabilities ``[layer, protein, class]`` of logits at temperatures ``[layer]``."""
    return probabilities(logits / temperatures[:, None, None].float(), probe.cell.task.kind)


def class_names(probe: TrainedProbe) -> Sequence[str]:
    """Return the names of the classes."""
    return probe.cell.task.classes


def _ones(stack: LayerStack) -> Tensor:
    return torch.ones(stack.n_layers + 1, dtype=torch.float64)
