"""Fitting the translators of all layers at once, as a Lightning module."""

from collections.abc import Iterator
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from plmdepth.analysis.batches import Batch
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.objectives.objective import Example
from plmdepth.proteins.memory import reading
from plmdepth.tuned_lens.batches import ShuffledPasses
from plmdepth.tuned_lens.recipe import TunedLensRecipe
from plmdepth.tuned_lens.target_states import divergence_from_model, target_states
from plmdepth.tuned_lens.whitening import WhitenedTranslators

_FIRST_LOOK = 32
"""Batches from which the coordinates are chosen."""


class LensFitting(LightningModule):
    """Minimise ``sum over layers of mean over targets of KL(p_L || q_l)``.

    The frozen model is no submodule: it is neither trained, nor put into training mode, nor saved.

    Args:
        stack: the model.
        recipe: how it is fitted.
        batches: the proteins to fit to.
    """

    def __init__(self, stack: LayerStack, recipe: TunedLensRecipe, batches: ShuffledPasses) -> None:
        super().__init__()
        self.translators = WhitenedTranslators(stack.n_layers, stack.width)
        self._stack, self._recipe, self._batches = stack, recipe, batches
        self._amino_acids = stack.spelling.amino_acids

    def on_fit_start(self) -> None:
        """Move the model and choose the coordinates from the first batches."""
        self._stack.module.to(self.device)
        self.translators.choose_coordinates(self._first_look())

    def divergences(self, example: Example) -> Tensor:
        """Return the mean over the targets of ``KL(p_L || q_l)`` for l = 0..L-1, ``[layer]``; 0 without targets."""
        states = target_states(self._stack, example)
        logits = self._stack.logits(self.translators(states[:-1]))
        divergences = divergence_from_model(logits, self._stack.logits(states[-1]), self._amino_acids)
        return divergences.sum(-1) / max(1, states.shape[1])

    def training_step(self, batch: Batch, index: int) -> Tensor:  # noqa: ARG002 (Lightning's signature)
        """Return the loss of one batch."""
        with reading(batch.proteins):
            divergences = self.divergences(batch.example)
        self.log("train/kl", divergences.detach().mean(), batch_size=len(batch.proteins))
        return divergences.sum()

    def validation_step(self, batch: Batch, index: int) -> None:  # noqa: ARG002
        """Log the divergence on one held-out batch, averaged over layers."""
        self.log("valid/kl", self.divergences(batch.example).mean(), batch_size=len(batch.proteins))

    def configure_optimizers(self) -> Any:
        """Return AdamW with a linearly falling rate: it treats every layer as if it were fitted alone."""
        recipe, width = self._recipe, self.translators.weight.shape[-1]
        optimizer = torch.optim.AdamW(
            self.translators.parameters(),
            lr=recipe.learning_rate / width,
            betas=(0.9, 0.98),
            weight_decay=recipe.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Any:  # noqa: ARG002
        """Move the tensors of a batch."""
        return batch.to(device)

    def _first_look(self) -> Iterator[Tensor]:
        for index in range(min(_FIRST_LOOK, len(self._batches))):
            yield target_states(self._stack, self._batches[index].example.to(self.device))[:-1]
