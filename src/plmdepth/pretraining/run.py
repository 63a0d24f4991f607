"""One pretraining cell: from a recipe to weights, a log, scores and a model card."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from plmdepth.analysis.batches import Batch
from plmdepth.cells.cell import Cell, Findings
from plmdepth.cells.context import RunContext
from plmdepth.cells.inputs import check_objective
from plmdepth.errors import InputError
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.spelling.spelling import Spelling
from plmdepth.language_models.weights import build_module
from plmdepth.objectives.objective import Objective
from plmdepth.pretraining.card import model_card
from plmdepth.pretraining.module import Pretrainer
from plmdepth.pretraining.recipe import Recipe
from plmdepth.pretraining.score import score
from plmdepth.proteins.datasets.demo import DemoDataset
from plmdepth.proteins.grammar.sampling import sample_proteins
from plmdepth.results.atomic import write_text
from plmdepth.results.identity import Identity
from plmdepth.results.result import Measured


@dataclass(frozen=True)
class Pretraining(Cell):
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

    @classmethod
    def of(cls, run: RunContext) -> Self:
        """Return the cell of a recipe.

        Raises:
            InputError: model, objective and data set do not fit together.
        """
        if not isinstance(run.dataset, DemoDataset):
            raise InputError("pretraining needs dataset=demo: only there is the best possible loss known")
        check_objective(run.model, run.objective)
        return cls(
            model=run.model,
            dataset=run.dataset,
            objective=run.objective,
            recipe=run.asked,
            trainer=run.trainer,
            seed=run.seed,
            options=run.options("objective", "training"),
        )

    def measure(self, staging: Path) -> Findings:
        """Train the model and score it; write weights, log and card."""
        torch.manual_seed(self.seed)
        model = replace(self.model.resolved(), weights="random")
        module = build_module(model)
        anatomy = model.anatomy(module)
        device = _fit(self, Pretrainer(module, anatomy, self.recipe), model.spelling, staging)
        stack = LayerStack(module=module, anatomy=anatomy, spelling=model.spelling)
        valid = list(sample_proteins(self.dataset.grammar_seed, "valid", self.recipe.valid_size))
        scores = score(stack, self.objective, valid, self.seed)
        module.save_pretrained(staging / "weights")
        card = model_card(model, self.objective, self.recipe, scores, _overrides(self))
        write_text(staging / "weights" / "README.md", card)
        scalars = {f"{part}/{name}": value for part, each in scores.items() for name, value in asdict(each).items()}
        measured = Measured(
            device=str(device),
            dtype=model.dtype,
            sequences_fitted=self.recipe.steps * self.recipe.batch_size,
            sequences_measured=len(valid),
            sequences_skipped={},
            letters_changed={},
        )
        return Findings(scalars, dict.fromkeys(scalars), measured)


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


def _fit(cell: Pretraining, pretrainer: Pretrainer, spelling: Spelling, staging: Path) -> torch.device:
    """Train, and return the device that it was done on."""
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
    return trainer.strategy.root_device


def _overrides(cell: Pretraining) -> str:
    """Return the overrides that the command line needs to repeat the training."""
    usual = asdict(Recipe())
    changed = {f"training.{key}": value for key, value in asdict(cell.recipe).items() if value != usual[key]}
    # The noise levels of the training are those of the whole schedule, whatever is configured.
    shown = {f"objective.{k}": v for k, v in cell.options["objective"].items() if k == "mask_fraction"}
    shown |= {"model.miniature": "true"} if cell.model.miniature else {}
    return " ".join(f"{key}={value}" for key, value in (shown | changed).items())
