"""One analysis as a Lightning module, so that devices, progress and limits are the `Trainer`'s."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from plmdepth.analysis.batches import Batch, BatchedProteins
from plmdepth.language_models.checkpoints.placement import is_dispatched
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.accumulators import Accumulator, accumulator, bootstrap_weights, disjoint_groups
from plmdepth.metrics.metric import N_GROUPS, Metric, Statistics
from plmdepth.objectives.objective import Example
from plmdepth.proteins.memory import reading
from plmdepth.proteins.protein import Protein
from plmdepth.results.collectives import group, total
from plmdepth.results.sequence_table import SequenceTable


class AnalysisModule(LightningModule):
    """Measure every batch, average over sequences, list the sequences.

    Args:
        stack: the model.
        metric: the measurement.
        batches: the data.
        sequences: where the measured sequences are listed.
        seed: the run's seed.
    """

    def __init__(
        self, stack: LayerStack, metric: Metric, batches: BatchedProteins, sequences: SequenceTable, seed: int
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # more processes than batches
        if not is_dispatched(stack.module):
            self.language_model = stack.module  # a submodule, so that the trainer moves it to its device
        self.curves = accumulator(metric.reduction, (len(metric.quantities), stack.n_layers + 1))
        self.matrices = accumulator(metric.reduction, (len(metric.matrices), stack.n_layers, stack.n_layers))
        self.scoped = [
            accumulator(metric.reduction, (len(metric.quantities), stack.n_layers + 1)) for _ in batches.scopes
        ]
        self.scoped_modules = torch.nn.ModuleList(self.scoped)  # so that the trainer moves them to its device
        self.statistics = metric.statistics(stack)
        self._groups = disjoint_groups(batches.proteins, seed, N_GROUPS) if self.statistics else {}
        self.residues = 0
        self._stack, self._metric, self._batches = stack, metric, batches
        self._sequences, self._seed = sequences, seed
        self._loss_index = _index_of(metric, "logit_lens", "cross_entropy")

    def on_test_start(self) -> None:
        """Let the metric see the data once where it must know something of all of them first."""
        now: list[Protein] = []
        with reading(now):
            self._metric = self._metric.prepared(self._stack, self._examples(now))

    def _examples(self, now: list[Protein]) -> Iterator[Example]:
        """Yield the data as the model reads them; ``now`` holds the proteins of the last ones."""
        for batch in self._batches:
            now[:] = batch.proteins
            yield batch.example.to(self.device)

    def test_step(self, batch: Batch, index: int) -> None:  # noqa: ARG002 (Lightning's signature)
        """Measure one batch."""
        with reading(batch.proteins):
            values = self._metric.measure(self._stack, batch.example)
        weights = bootstrap_weights(batch.proteins, self._seed).to(values.curves.device)
        self.curves.update(values.curves, weights)
        self._update_scopes(batch.example.scopes, values.curves, weights)
        if self.statistics is not None:
            self.statistics.update(values.curves, torch.tensor([self._groups[each.id] for each in batch.proteins]))
        if values.matrices is not None:
            self.matrices.update(values.matrices, weights)
        self.residues += sum(len(protein) for protein in batch.proteins)
        self._sequences.add_measured(batch.proteins, batch.example.targets, self._final_losses(values.curves))

    def _update_scopes(self, scopes: Sequence[str], curves: Tensor, weights: Tensor) -> None:
        """Add every sequence to the curves of its scope too."""
        for name, scoped in zip(self._batches.scopes, self.scoped, strict=True):
            rows = [row for row, scope in enumerate(scopes) if scope == name]
            scoped.update(curves[rows], weights[:, rows])

    def combine(self) -> None:
        """Put together what several processes have measured; all of them must come here after the run."""
        self.residues = int(total(torch.tensor(self.residues)))
        for part in self.modules():
            if isinstance(part, Accumulator | Statistics):
                part.process_group = group()  # `compute` reduces over it

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Any:  # noqa: ARG002
        """Move the tensors of a batch."""
        return batch.to(device)

    def _final_losses(self, values: Tensor) -> list[float | None]:
        """Return the model's own cross-entropy on each sequence, None where the metric does not measure it."""
        if self._loss_index is None:
            return [None] * len(values)
        losses = values[:, self._loss_index, -1]
        return [None if math.isnan(loss) else loss for loss in losses.tolist()]


def _index_of(metric: Metric, name: str, quantity: str) -> int | None:
    """Return the index of a quantity among a metric's values."""
    names = [(each.metric, each.name) for each in metric.quantities]
    return names.index((name, quantity)) if (name, quantity) in names else None
