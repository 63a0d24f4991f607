"""One tuned-lens cell: from a recipe to a fitted lens, a log and its score by layer."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader

from plmdepth.analysis.batches import BatchedProteins
from plmdepth.analysis.tables import CurveLabels, curve_table
from plmdepth.cells.cell import Cell, Findings
from plmdepth.cells.context import RunContext
from plmdepth.cells.inputs import check_objective, inputs_of
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack, weights_digest
from plmdepth.metrics.translators import Translators, describe
from plmdepth.objectives.objective import Objective
from plmdepth.proteins.datasets.dataset import Dataset
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.selection import ProteinSet
from plmdepth.results.identity import Identity
from plmdepth.results.result import Measured
from plmdepth.results.sequence_table import SequenceTable
from plmdepth.tuned_lens.batches import ShuffledPasses, hold_out
from plmdepth.tuned_lens.fitting import LensFitting
from plmdepth.tuned_lens.recipe import TunedLensRecipe, write_lens
from plmdepth.tuned_lens.scoring import QUANTITIES, LensScoring


@dataclass(frozen=True)
class LensCell(Cell):
    """One cell: model x dataset x tuned lens (x seed).

    Attributes:
        model: the model; it stays as it is.
        dataset: where its proteins come from.
        proteins: the proteins, those to fit to and those to score on.
        objective: how they are presented.
        recipe: how the lens is fitted.
        trainer: makes the trainer, given what the recipe adds.
        seed: the run's seed.
        options: the options of objective, recipe and trainer that decide numbers.
    """

    model: LanguageModel
    dataset: Dataset
    proteins: ProteinSet
    objective: Objective
    recipe: TunedLensRecipe
    trainer: Callable[..., Trainer]
    seed: int
    options: Mapping[str, Any]

    @cached_property
    def identity(self) -> Identity:
        """Return what determines the translators of this cell."""
        facts = {
            "model": self.model.facts(),
            "weights": weights_digest(self.model, self.seed),
            "proteins": self.proteins.digest,
            "seed": self.seed,
            **self.options,
        }
        return Identity("train", self.model.name, self.dataset.name, self.recipe.name, facts)

    @classmethod
    def of(cls, run: RunContext) -> Self:
        """Return the cell of a recipe.

        Raises:
            InputError: model, objective and proteins do not fit together.
        """
        model = run.model.resolved()
        check_objective(model, run.objective)
        return cls(
            model=model,
            dataset=run.dataset,
            proteins=inputs_of(model, run.dataset.proteins(model.max_length, run.seed)),
            objective=run.objective,
            recipe=run.asked,
            trainer=run.trainer,
            seed=run.seed,
            options=run.options("objective", "probe"),
        )

    def measure(self, staging: Path) -> Findings:
        """Fit the lens; write it, its log and its score."""
        proteins = _Proteins(*hold_out(self.proteins.proteins, self.recipe.held_out, self.seed))
        stack = load_stack(self.model, self.seed)
        translators = _fit(self, stack, proteins, staging)
        write_lens(staging / "lens", translators, describe(stack, self.model.name))
        module = _score(self, stack, translators, proteins.held_out, staging / "sequences.parquet")
        estimate = module.curves.compute()
        labels = CurveLabels.of(self.model, stack, self.objective.name, self.dataset.name)
        curves = curve_table(estimate, QUANTITIES, labels)
        pq.write_table(curves.filter(pc.field("layer") < stack.n_layers), staging / "curves.parquet")
        names = [quantity.name for quantity in QUANTITIES]
        layers = dict(zip(names, estimate.value[:, :-1].tolist(), strict=True))  # divergence before and after, in nats
        measured = Measured(
            device=str(module.device),
            dtype=self.model.dtype,
            sequences_fitted=len(proteins.fitted),
            sequences_measured=len(proteins.held_out),
            sequences_skipped=Counter(record.kind for record in self.proteins.skipped),
            letters_changed=self.proteins.changes,
            notes=[*self.proteins.notes, *stack.notes],
        )
        return Findings(
            scalars={f"mean_{name}": sum(values) / len(values) for name, values in layers.items()},
            intervals={f"mean_{name}": None for name in names},
            measured=measured,
            sections={"layers": layers, "lens": {"translators": translators.digest}},
        )


class _Proteins(NamedTuple):
    fitted: tuple[Protein, ...]
    held_out: tuple[Protein, ...]


def _fit(cell: LensCell, stack: LayerStack, proteins: _Proteins, staging: Path) -> Translators:
    recipe = cell.recipe
    batches = ShuffledPasses(
        proteins.fitted,
        cell.objective,
        stack.spelling,
        batch_size=recipe.batch_size,
        n_batches=recipe.steps,
        seed=cell.seed,
    )
    fitting = LensFitting(stack, recipe, batches)
    trainer = cell.trainer(
        max_epochs=1,  # the batches are as many as the recipe has steps
        val_check_interval=min(recipe.valid_every, recipe.steps),
        log_every_n_steps=min(10, recipe.steps),
        logger=CSVLogger(staging, name="", version=""),
        num_sanity_val_steps=0,
    )
    held_out = _held_out_batches(cell, stack, proteins.held_out)
    trainer.fit(fitting, DataLoader(batches, batch_size=None), DataLoader(held_out, batch_size=None))
    (staging / "metrics.csv").rename(staging / "log.csv")
    (staging / "hparams.yaml").unlink(missing_ok=True)
    return fitting.translators.folded()


def _score(
    cell: LensCell, stack: LayerStack, translators: Translators, held_out: tuple[Protein, ...], sequences: Path
) -> LensScoring:
    with SequenceTable(sequences) as table:
        table.add_skipped(cell.proteins.skipped)
        module = LensScoring(stack, translators, table, cell.seed)
        batches = _held_out_batches(cell, stack, held_out)
        cell.trainer().test(module, DataLoader(batches, batch_size=None), verbose=False)
    return module


def _held_out_batches(cell: LensCell, stack: LayerStack, held_out: tuple[Protein, ...]) -> BatchedProteins:
    return BatchedProteins(held_out, cell.objective, stack.spelling, cell.dataset.tokens_per_batch, cell.seed)
