"""A probe that has been trained, ready to be left early: the model, its heads and how they read."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from plmdepth.early_exit.batched_parts import batched_parts
from plmdepth.early_exit.confidence import ProteinConfidence
from plmdepth.early_exit.inference import EarlyExit
from plmdepth.early_exit.policy import Fallback
from plmdepth.early_exit.reading import ProteinReader, Reader, ResidueReader
from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack
from plmdepth.probes.layerwise.cell import ProbeCell
from plmdepth.probes.layerwise.features import spelt
from plmdepth.probes.layerwise.heads import LayerHeads, read_heads
from plmdepth.probes.layerwise.losses import probabilities

HEADS_FILE = "heads.safetensors"
_TWO, _THREE = ("MKTV", "M"), ("MKTV", "M", "MK")  # batches of one width, with padding


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
    def reader(self) -> Reader:
        """How states become what the heads read, as in training."""
        if self.cell.task.kind == "residue":
            return ResidueReader(self.stack.spelling)
        return ProteinReader(self.heads.pool)

    def predict(self, layer: int, rows: Tensor) -> Tensor:
        """Return probabilities ``[row, class]`` of what a head reads, ``[row, feature]``."""
        logits = self.heads.read(layer, rows) / float(self.temperatures[layer])
        return probabilities(logits, self.cell.task.kind)

    def leaving(self, confidence: ProteinConfidence, threshold: float, fallback: Fallback) -> EarlyExit:
        """Return the model that is left at a threshold."""
        few, more = (spelt(self.stack, each, self.device) for each in (_TWO, _THREE))
        parts = batched_parts(self.stack, few, more)
        return EarlyExit(self.stack, self.reader, self.predict, confidence, threshold, fallback, parts, self.device)


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
    return TrainedProbe(cell, stack, heads, device, _ones(stack))


def _ones(stack: LayerStack) -> Tensor:
    return torch.ones(stack.n_layers + 1, dtype=torch.float64)
