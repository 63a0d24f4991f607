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
from plmdepth.probes.layerwise.cell import ProbeCell
from plmdepth.probes.layerwise.data import LiveResidues, Pooled
from plmdepth.probes.layerwise.recipe import HeadRecipe, LinearRecipe
from plmdepth.proteins.protein import CANONICAL, Protein
from plmdepth.proteins.tasks.task import METRICS, Kind, Labelled, Task
from plmdepth.randomness import keyed_generator
from tests.stacks import EVERYWHERE

MODEL = EVERYWHERE["esm2"]
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
    """Replace the features of proteins, or of their residues, by noise that shows the label from layer ``first`` on."""
    labels = {each.protein.id: each.label for members in task.splits.values() for each in members}
    residues = task.kind == "residue"

    def features(live: Pooled | LiveResidues, proteins: list[Protein]) -> Tensor:
        layers = list(live.layers or range(live.stack.n_layers + 1))
        found = []
        for protein in proteins:
            label = labels[protein.id]
            shape = (*(label.shape if residues else ()), live.stack.n_layers + 1, live.stack.width)
            noise = keyed_generator(0, "noise", protein.id).normal(size=shape)
            noise[..., first:, : len(CLASSES)] += 12.0 * _shown(label, task.kind)
            found.append(torch.from_numpy(noise).float()[..., layers, :])
        return torch.cat(found) if residues else torch.stack(found)

    patch.setattr(LiveResidues if residues else Pooled, "features", features)


def _shown(label: np.ndarray, kind: Kind) -> np.ndarray:
    """Return the classes that are true, for every layer: ``[..., 1, class]``."""
    true = label if kind == "multilabel" else np.arange(len(CLASSES)) == label[..., None]
    return true[..., None, :]
