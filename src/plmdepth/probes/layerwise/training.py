"""All heads in one Lightning run, each with its own best moment.

Several processes share the pass of the language model, not this: each trains all heads on all batches, so that batch
norms, drop-outs and numbers are those of one process, and all agree on the losses that decide.
"""

import math
from typing import Any

import pandas as pd
import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from plmdepth.probes.layerwise.heads import LayerHeads
from plmdepth.probes.layerwise.losses import LayerLoss
from plmdepth.probes.layerwise.recipe import HeadRecipe
from plmdepth.results.collectives import agreed

History = list[dict[str, float]]

_LAST = 0.1  # share of the passes that are looked at
_FALLS = 0.01  # share of the lowest loss before


class HeadTraining(LightningModule):
    """Train the heads of all layers; afterwards each is as it was at its own lowest validation loss.

    Args:
        heads: the heads.
        loss: the loss of every layer.
        recipe: how they are trained.
    """

    def __init__(self, heads: LayerHeads, loss: LayerLoss, recipe: HeadRecipe) -> None:
        super().__init__()
        self.heads = heads
        self.history: History = []
        self._loss, self._recipe = loss, recipe
        n_heads = len(heads.layers)
        self._best = [heads.state_of(layer) for layer in range(n_heads)]
        self._lowest = torch.full((n_heads,), torch.inf, dtype=torch.float64)
        self._waited = torch.zeros(n_heads, dtype=torch.long)
        self._sums = {split: torch.zeros(n_heads, dtype=torch.float64) for split in ("train", "val")}
        self._rows = dict.fromkeys(self._sums, 0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam with a group of parameters, and so a learning rate, for every layer."""
        groups = [{"params": list(head.parameters())} for head in self.heads.layers]
        return torch.optim.Adam(groups, lr=self._recipe.learning_rate, weight_decay=self._recipe.weight_decay)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:  # noqa: ARG002 (Lightning's signature)
        """Return the sum over layers: no parameter is shared, so each layer follows its own loss."""
        losses = self._losses(batch, "train")
        return losses.sum()

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:  # noqa: ARG002
        """Add the losses of one batch."""
        self._losses(batch, "val")

    def on_validation_epoch_end(self) -> None:
        """Keep every head that has become better, and slow those down that have not."""
        if self.trainer.sanity_checking:
            return
        means = {split: agreed(total / max(self._rows[split], 1)) for split, total in self._sums.items()}
        self._note(means)
        for layer, loss in enumerate(means["val"].tolist()):
            self._judge(layer, loss)
        if bool((self._waited >= self._recipe.stop_after).all()):
            self.trainer.should_stop = True
        for split in self._sums:
            self._sums[split].zero_()
            self._rows[split] = 0

    def on_fit_end(self) -> None:
        """Put the best heads in place."""
        for head, state in zip(self.heads.layers, self._best, strict=True):
            head.load_state_dict(state)

    @property
    def converged(self) -> dict[int, bool]:
        """Whether the validation loss of each layer had come to rest.

        It had not where the last tenth of the passes (the last one at least) lowered it by more than 1 %.
        """
        losses = pd.DataFrame(self.history).pivot(index="epoch", columns="layer", values="val/loss")
        last = max(1, math.ceil(_LAST * len(losses)))
        before, after = losses.iloc[:-last].min(), losses.iloc[-last:].min()
        return {int(layer): bool(after[layer] >= (1 - _FALLS) * before[layer]) for layer in losses.columns}

    def facts(self) -> dict[str, Any]:
        """Return what a record says of the training."""
        lowest = pd.DataFrame(self.history).groupby("layer")["val/loss"].min()
        return {"method": "adam", "valid_loss": {str(layer): float(loss) for layer, loss in lowest.items()}}

    def _losses(self, batch: tuple[Tensor, Tensor], split: str) -> Tensor:
        features, labels = batch
        losses = self._loss(self.heads(features), labels)
        self._sums[split] += losses.detach().double().cpu() * len(labels)
        self._rows[split] += len(labels)
        return losses

    def _judge(self, layer: int, loss: float) -> None:
        if self._waited[layer] >= self._recipe.stop_after:
            return
        if loss < self._lowest[layer]:
            self._lowest[layer], self._waited[layer] = loss, 0
            self._best[layer] = self.heads.state_of(layer)
            return
        self._waited[layer] += 1
        if self._waited[layer] % self._recipe.patience == 0:
            optimizer: Any = self.trainer.optimizers[0]
            optimizer.param_groups[layer]["lr"] *= self._recipe.factor

    def _note(self, means: dict[str, Tensor]) -> None:
        for place, layer in enumerate(self.heads.numbers):
            row = {f"{split}/loss": mean[place].item() for split, mean in means.items()}
            self.history.append({"epoch": self.current_epoch, "layer": layer, **row})
