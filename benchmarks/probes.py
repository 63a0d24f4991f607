"""Probes: features computed once against the published way, the cached pass against a bare one, early exit in seconds.

The published way runs the language model in every epoch and trains the heads of its layers one after the other.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from models import DEVICE, stack_of
from timing import interleaved, report
from torch import Tensor

from plmdepth.early_exit.inference import EarlyExit, ProteinInputs, batched_parts
from plmdepth.early_exit.study import time_over_layers, wall_times
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.probes.layerwise.cache import FeatureCache
from plmdepth.probes.layerwise.data import Kept, Passes, Pooled, loader
from plmdepth.probes.layerwise.features import spelt
from plmdepth.probes.layerwise.heads import LayerHeads
from plmdepth.probes.layerwise.losses import multiclass_loss
from plmdepth.probes.layerwise.recipe import MLPRecipe
from plmdepth.proteins.batches import token_budget_batches
from plmdepth.proteins.protein import CANONICAL, Protein

N_PROTEINS, N_CLASSES, TOKENS, EPOCHS = 96, 10, 4096, 50
N_LEAVING = 32
ESM2_8M = (6, 320, 20)


def proteins() -> tuple[Protein, ...]:
    """Return proteins of 50 to 300 random letters."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(50, 301, (N_PROTEINS,), generator=generator).tolist()
    drawn = [torch.randint(20, (length,), generator=generator).tolist() for length in lengths]
    return tuple(Protein(str(n), "".join(CANONICAL[i] for i in row)) for n, row in enumerate(drawn))


class Setting:
    """A model of esm2_8m's size, proteins, labels, and the two ways to train heads on them."""

    def __init__(self) -> None:
        self.stack = stack_of("masked", *ESM2_8M)
        self.proteins = proteins()
        self.labels = torch.arange(N_PROTEINS) % N_CLASSES
        self.recipe = MLPRecipe(learning_rate=1e-4)

    def read(self) -> Pooled:
        """Return what runs the model on a batch."""
        return Pooled(self.stack, self.proteins, self.labels, "mean", torch.device(DEVICE))

    def heads(self) -> LayerHeads:
        """Return untrained heads."""
        return LayerHeads(self.recipe.head, self.stack.n_layers + 1, self.stack.width, N_CLASSES)

    def ours(self, epochs: int) -> None:
        """Compute the features once and train all heads on them."""
        with tempfile.TemporaryDirectory() as folder:
            features = self.cached(Path(folder))
        _train(self.heads(), loader(Kept(features, self.labels), Passes(N_PROTEINS, self.recipe.batch_size, 0)), epochs)

    def published(self, epochs: int) -> None:
        """Run the model in every epoch; the heads of all layers learn from each batch, one after the other."""
        _train(self.heads(), loader(self.read(), Passes(N_PROTEINS, self.recipe.batch_size, 0)), epochs)

    def cached(self, folder: Path) -> Tensor:
        """Return the features, computed and written."""
        shape = (self.stack.n_layers + 1, self.stack.width)
        cache = FeatureCache(folder, {}, self.proteins, shape, torch.float32, TOKENS)
        return cache.features(self.read().features)


def _train(heads: LayerHeads, batches: Any, epochs: int) -> None:
    optimizer = torch.optim.Adam(heads.parameters(), lr=1e-4)
    for epoch in range(epochs):
        batches.sampler.set_epoch(epoch)
        for features, labels in batches:
            optimizer.zero_grad()
            multiclass_loss(heads(features), labels).sum().backward()
            optimizer.step()


@torch.no_grad()
def bare(stack: LayerStack, members: tuple[Protein, ...]) -> None:
    """Run the model's own forward pass over the proteins in batches of like length."""
    for batch in token_budget_batches([len(protein) for protein in members], TOKENS):
        tokens = spelt(stack, [members[i].sequence for i in batch], DEVICE)
        stack.module(input_ids=tokens.ids, attention_mask=tokens.attended.long())


def training(setting: Setting) -> dict[str, Any]:
    """Return seconds for 50 epochs; the published way is timed over two and scaled, as every epoch is alike."""
    start = time.perf_counter()
    setting.ours(EPOCHS)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    setting.published(2)
    published = (time.perf_counter() - start) * EPOCHS / 2
    return {
        "work": f"heads, {EPOCHS} epochs",
        "ours": ours,
        "other": published,
        "ratio": published / ours,
        "goal": ">= 20",
    }


def cached_pass(setting: Setting) -> dict[str, Any]:
    """Return seconds of the pass that keeps features, and of a bare one."""

    def keep() -> None:
        with tempfile.TemporaryDirectory() as folder:
            setting.cached(Path(folder))

    seconds = interleaved({"ours": keep, "other": lambda: bare(setting.stack, setting.proteins)}, rounds=3)
    return {"work": "cached pass", **seconds, "ratio": seconds["ours"] / seconds["other"], "goal": "<= 1.2"}


def early_exit(name: str, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Return seconds of leaving at half depth on average, and the relation of time to layers.

    Exits are planted: confidences are drawn, so that thresholds from 0.1 to 0.9 spread the layers of exit.
    """
    stack, members = stack_of("masked", *shape), proteins()[:N_LEAVING]
    recipe = MLPRecipe()
    heads = LayerHeads(recipe.head, stack.n_layers + 1, stack.width, N_CLASSES).eval()

    def predict(layer: int, pooled: Tensor) -> Tensor:
        return heads.read(layer, pooled).softmax(-1)

    few, more = (spelt(stack, each, DEVICE) for each in (["MKTV", "M"], ["MKTV", "M", "M"]))
    parts, inputs = batched_parts(stack, few, more), ProteinInputs(heads.pool)
    early = EarlyExit(stack, inputs, predict, _planted(stack), 0.5, "last", parts, torch.device(DEVICE))
    table = wall_times(early, members, [0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9], TOKENS // 2, rounds=2)
    half = table.iloc[(table["layer_share"] - 0.5).abs().argmin()]
    rows = [
        {
            "work": f"early exit, {name}, {half['layer_share']:.2f} of the layers",
            "ours": half["seconds"],
            "other": half["full_seconds"],
            "ratio": half["time_share"],
            "goal": "<= 0.57 at 0.50",
        }
    ]
    found = time_over_layers(table)
    rows.append({"work": f"  time over layers: slope {found['slope']:.2f}, r^2 {found['r_squared']:.3f}"})
    return rows


def _planted(stack: LayerStack) -> Any:
    """Return a confidence that is drawn, whatever the heads say: thresholds then decide how early proteins leave."""
    generator = torch.Generator().manual_seed(0)

    def confidence(probabilities: Tensor, present: Tensor) -> Tensor:  # noqa: ARG001 (one answer a protein)
        return torch.rand(len(probabilities), generator=generator) ** (stack.n_layers / 4)

    return confidence


def main() -> None:
    """Measure everything, print a table and write a JSON file."""
    setting = Setting()
    rows = [training(setting), cached_pass(setting)]
    rows += early_exit("12 layers x 480", (12, 480, 8))
    title = f"Probes and early exit, {N_PROTEINS} proteins, seconds"
    report("probes", title, rows)


if __name__ == "__main__":
    main()
