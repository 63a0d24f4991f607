"""One pretraining cell: from a recipe to weights, a log, scores and a model card."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from plmdepth.analysis.batches import Batch
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.spelling.spelling import Spelling
from plmdepth.language_models.weights import build_module
from plmdepth.objectives.objective import Objective
from plmdepth.pretraining.card import model_card
from plmdepth.pretraining.module import Pretrainer
from plmdepth.pretraining.recipe import Recipe
from plmdepth.pretraining.score import Score, score
from plmdepth.proteins.datasets.demo import DemoDataset
from plmdepth.proteins.grammar.sampling import sample_proteins
from plmdepth.results.atomic import write_json, write_text
from plmdepth.results.cell_folder import writing_cell
from plmdepth.results.identity import SCHEMA, Identity
from plmdepth.results.provenance import environment


@dataclass(frozen=True)
class Pretraining:
    """One cell: model x grammar x recipe (x seed).

    Attributes:
        model: the model; it starts from random weights.
        dataset: the grammar.
        objective: what the model is trained to do.
        recipe: how it is trained.
        trainer: makes the trainer, given what the recipe adds.
        seed: decides the initial weights and the targets.
        options: the options of objective, recipe and trainer, for the identity.
    """

    model: LanguageModel
    dataset: DemoDataset
    objective: Objective
    recipe: Recipe
    trainer: Callable[..., Trainer]
    seed: int
    options: Mapping[str, Any]

    @cached_property
    def identity(self) -> Identity:
        """Return what determines the weights of this cell."""
        built = self.model.resolved()
        model = {name: getattr(built, name) for name in ("name", "n_layers", "width", "n_heads", "dtype")}
        facts = {"model": model, "grammar": self.dataset.grammar_seed, "seed": self.seed, **self.options}
        return Identity("train", self.model.name, self.dataset.name, self.recipe.name, facts)


class _GrammarBatches(TorchDataset[Batch]):
    """Batches of new proteins: number k holds proteins ``k * size .. (k + 1) * size`` of a split."""

    def __init__(self, cell: Pretraining, split: str, n_batches: int, spelling: Spelling) -> None:
        self._cell, self._split, self._n_batches, self._spelling = cell, split, n_batches, spelling

    def __len__(self) -> int:
        return self._n_batches

    def __getitem__(self, index: int) -> Batch:
        size = self._cell.recipe.batch_size
        proteins = tuple(sample_proteins(self._cell.dataset.grammar_seed, self._split, size, index * size))
        return Batch(proteins, self._cell.objective.for_training().present(proteins, self._spelling, self._cell.seed))


def run_pretraining(cell: Pretraining, folder: Path, config: str) -> None:
    """Train the model and write weights, log, scores and card to ``folder``."""
    with writing_cell(folder, config) as staging:
        started = time.perf_counter()
        torch.manual_seed(cell.seed)
        model = replace(cell.model.resolved(), weights="random")
        module = build_module(model)
        anatomy = model.anatomy(module)
        _fit(cell, Pretrainer(module, anatomy, cell.recipe), model.spelling, staging)
        stack = LayerStack(module=module, anatomy=anatomy, spelling=model.spelling)
        valid = list(sample_proteins(cell.dataset.grammar_seed, "valid", cell.recipe.valid_size))
        scores = score(stack, cell.objective, valid, cell.seed)
        module.save_pretrained(staging / "weights")
        card = model_card(model, cell.objective, cell.recipe, scores, _overrides(cell))
        write_text(staging / "weights" / "README.md", card)
        result = {
            "schema": SCHEMA,
            "identity": {"id": folder.name, **cell.identity.facts},
            "scalars": _scalars(scores),
            "provenance": {**environment(), "wall_seconds": round(time.perf_counter() - started, 3)},
        }
        write_json(staging / "result.json", result)


def _fit(cell: Pretraining, pretrainer: Pretrainer, spelling: Spelling, staging: Path) -> None:
    recipe = cell.recipe
    trainer = cell.trainer(
        max_epochs=1,  # the training data are as many batches as the recipe has steps
        gradient_clip_val=recipe.gradient_clip,
        val_check_interval=min(recipe.valid_every, recipe.steps),
        log_every_n_steps=50,
        logger=CSVLogger(staging, name="", version=""),
        num_sanity_val_steps=0,
    )
    n_valid = max(1, recipe.valid_size // recipe.batch_size)
    trainer.fit(
        pretrainer,
        DataLoader(_GrammarBatches(cell, "train", recipe.steps, spelling), batch_size=None),
        DataLoader(_GrammarBatches(cell, "valid", n_valid, spelling), batch_size=None),
    )
    (staging / "weights").mkdir()
    (staging / "metrics.csv").rename(staging / "weights" / "log.csv")
    (staging / "hparams.yaml").unlink(missing_ok=True)


def _scalars(scores: Mapping[str, Score]) -> dict[str, float | None]:
    """Return the scores by ``part/name``; JSON has no NaN, so a score of no target is null."""
    named = {f"{part}/{name}": value for part, each in scores.items() for name, value in asdict(each).items()}
    return {name: None if math.isnan(value) else value for name, value in named.items()}


def _overrides(cell: Pretraining) -> str:
    """Return the overrides that the command line needs to repeat the training."""
    usual = asdict(Recipe())
    changed = {f"training.{key}": value for key, value in asdict(cell.recipe).items() if value != usual[key]}
    # The noise levels of the training are those of the whole schedule, whatever is configured.
    shown = {f"objective.{k}": v for k, v in cell.options["objective"].items() if k == "mask_fraction"}
    shown |= {"model.miniature": "true"} if cell.model.miniature else {}
    return " ".join(f"{key}={value}" for key, value in (shown | changed).items())
