"""Pretraining as a Lightning module."""

from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from plmdepth.analysis.batches import Batch
from plmdepth.errors import InputError
from plmdepth.language_models.anatomy import Anatomy
from plmdepth.objectives.objective import Example
from plmdepth.pretraining.recipe import Recipe


class Pretrainer(LightningModule):
    """Train a language model on batches as its objective presents them.

    Args:
        module: the untrained model.
        anatomy: what its forward pass is called with.
        recipe: how it is trained.

    Raises:
        InputError: the model has no head, so it predicts nothing that it could be trained on.
    """

    def __init__(self, module: PreTrainedModel, anatomy: Anatomy, recipe: Recipe) -> None:
        super().__init__()
        if anatomy.head is None:
            raise InputError("this model predicts nothing by itself and cannot be pretrained; use model.part=decoder")
        self.language_model = module
        self._anatomy, self._recipe = anatomy, recipe

    def training_step(self, batch: Batch, index: int) -> Tensor:  # noqa: ARG002 (Lightning's signature)
        """Return the loss of one batch."""
        loss = self._loss(batch)
        self.log("train/loss", loss, batch_size=len(batch.proteins))
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:  # noqa: ARG002
        """Log the loss of one held-out batch."""
        self.log("val/loss", self._loss(batch), batch_size=len(batch.proteins))

    def configure_optimizers(self) -> Any:
        """Return AdamW with the recipe's schedule, one step of it a step of training."""
        optimizer = torch.optim.AdamW(
            self.language_model.parameters(),
            lr=self._recipe.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=self._recipe.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._recipe.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Any:  # noqa: ARG002
        """Move the tensors of a batch."""
        return batch.to(device)

    def _loss(self, batch: Batch) -> Tensor:
        return objective_loss(self.language_model, self._anatomy, batch.example)


def objective_loss(module: PreTrainedModel, anatomy: Anatomy, example: Example) -> Tensor:
    """Return the loss of a batch, ``sum_i w_i nll_i / sum_i w_i`` over its targets i, in nats.

    Args:
        module: a model that returns logits ``[batch, token, vocabulary]``.
        anatomy: what it is called with; a decoder also reads what its encoder is given.
        example: the batch; the weight of a target is that of its sequence.
    """
    logits = module(**anatomy.inputs(example.tokens)).logits
    losses = functional.cross_entropy(logits[example.scored].float(), example.labels[example.scored], reduction="none")
    weights = example.weights[example.scored.nonzero(as_tuple=True)[0]]
    return (weights * losses).sum() / weights.sum()
