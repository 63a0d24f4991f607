"""Small probe cells: made-up tasks, and features in which the label is visible from a known layer on."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor

from plmdepth.language_models.language_model import LanguageModel
from plmdepth.probes.layerwise.data import Pooled
from plmdepth.probes.layerwise.recipe import HeadRecipe, LinearRecipe
from plmdepth.probes.layerwise.run import ProbeCell
from plmdepth.proteins.protein import CANONICAL, Protein
from plmdepth.proteins.tasks.task import METRICS, Kind, Labelled, Task
from plmdepth.randomness import keyed_generator
from tests.stacks import MODELS

MODEL = MODELS["esm2"]
CLASSES = ("one", "two", "three")
LETTERS = "ALK"  # a residue of these has the class of its place, any other the class 0
QUICK = LinearRecipe(epochs=20, batch_size=16, learning_rate=0.02, n_replicates=50)
TRAINER = partial(
    Trainer,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_model_summary=False,
    enable_progress_bar=False,
    inference_mode=False,
)


def task_of(kind: Kind, **sizes: int) -> Task:
    """Return a task whose labels have nothing to do with the sequences, except those of residues."""
    sizes = {"train": 200, "valid": 30, "test": 40} | sizes
    splits = {split: tuple(_labelled(kind, f"{split}_{i}") for i in range(size)) for split, size in sizes.items()}
    return Task("made_up", kind, CLASSES, splits, METRICS[kind])


def _labelled(kind: Kind, name: str) -> Labelled:
    random = keyed_generator(0, "made up", name)
    protein = Protein(name, "".join(random.choice(list(CANONICAL), random.integers(8, 20))))
    if kind == "residue":
        return Labelled(protein, np.array([max(LETTERS.find(letter), 0) for letter in protein.sequence]))
    label = random.integers(len(CLASSES)) if kind == "multiclass" else random.random(len(CLASSES)) < 0.5
    return Labelled(protein, np.asarray(label))


def cell_of(
    task: Task, folder: Path, recipe: HeadRecipe = QUICK, model: LanguageModel = MODEL, **fields: Any
) -> ProbeCell:
    """Return a probe cell that keeps its features in a folder."""
    options = {"recipe": recipe.name, **vars(recipe)}
    known = {"trainer": TRAINER, "seed": 0, "options": options, "tokens_per_batch": 200} | fields
    return ProbeCell(model=model, task=task, recipe=recipe, features=folder / "features", **known)


def plant(patch: pytest.MonkeyPatch, task: Task, first: int) -> None:
    """Replace the features of proteins by noise in which the label is visible from layer ``first`` on."""
    labels = {each.protein.id: each.label for members in task.splits.values() for each in members}

    def features(pooled: Pooled, proteins: list[Protein]) -> Tensor:
        found = []
        for protein in proteins:
            noise = keyed_generator(0, "noise", protein.id).normal(size=(pooled.stack.n_layers + 1, pooled.stack.width))
            label = labels[protein.id]
            shown = label if label.ndim else np.arange(len(CLASSES)) == label
            noise[first:, : len(CLASSES)] += 12.0 * shown
            found.append(torch.from_numpy(noise).float())
        return torch.stack(found)

    patch.setattr(Pooled, "features", features)
