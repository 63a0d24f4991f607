"""Scoring fitted translators on held-out proteins, layer by layer, beside the logit lens."""

from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from plmdepth.analysis.batches import Batch
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.accumulators import MeanAccumulator, bootstrap_weights
from plmdepth.metrics.averages import segment_mean
from plmdepth.metrics.quantity import Quantity
from plmdepth.metrics.translators import Translators
from plmdepth.objectives.objective import Example
from plmdepth.proteins.memory import reading
from plmdepth.results.sequence_table import SequenceTable
from plmdepth.tuned_lens.target_states import divergence_from_model, target_states

QUANTITIES = tuple(
    Quantity("tuned_lens", name, "nats", label, bounds=(0, torch.inf))
    for name, label in (
        ("kl_before", "KL of the final prediction from the logit lens"),
        ("kl_after", "KL of the final prediction from the tuned lens"),
    )
)


class LensScoring(LightningModule):
    """Average the divergences over sequences, list the sequences.

    Args:
        stack: the model.
        translators: what was fitted.
        sequences: where the scored sequences are listed.
        seed: the run's seed.
    """

    def __init__(self, stack: LayerStack, translators: Translators, sequences: SequenceTable, seed: int) -> None:
        super().__init__()
        self.curves = MeanAccumulator((len(QUANTITIES), stack.n_layers + 1))
        self._stack, self._translators, self._sequences, self._seed = stack, translators, sequences, seed

    def on_test_start(self) -> None:
        """Move the model and the translators."""
        self._stack.module.to(self.device)
        self._translators = self._translators.to(self.device)

    def test_step(self, batch: Batch, index: int) -> None:  # noqa: ARG002 (Lightning's signature)
        """Score one batch."""
        with reading(batch.proteins):
            values = divergences(self._stack, self._translators, batch.example)
        self.curves.update(values, bootstrap_weights(batch.proteins, self._seed).to(values.device))
        self._sequences.add_measured(batch.proteins, batch.example.targets, [None] * len(batch.proteins))

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Any:  # noqa: ARG002
        """Move the tensors of a batch."""
        return batch.to(device)


@torch.no_grad()
def divergences(stack: LayerStack, translators: Translators, example: Example) -> Tensor:
    """Return ``KL(p_L || q_l)`` of the logit lens and of the tuned lens, ``[sequence, quantity, layer]``.

    Double precision, nats, layers 0..L; the last layer has no translator and no value.
    """
    *states, last = target_states(stack, example)
    final, amino_acids = stack.logits(last), stack.spelling.amino_acids
    rows = [
        divergence_from_model(
            stack.logits(torch.stack([state, translators.translated(layer, state)])), final, amino_acids
        )
        for layer, state in enumerate(states)
    ]
    layers = torch.stack(rows, dim=1).clamp(min=0)
    means = segment_mean(layers, example.scored.nonzero(as_tuple=True)[0], len(example.targets)).permute(2, 0, 1)
    return torch.nn.functional.pad(means, (0, 1), value=torch.nan)
