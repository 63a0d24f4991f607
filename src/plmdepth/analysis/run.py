"""One analysis cell: from configured objects to curves, matrices and scalars."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pytorch_lightning import Trainer
from safetensors.numpy import save_file
from torch.utils.data import DataLoader

from plmdepth.analysis.batches import BatchedProteins
from plmdepth.analysis.module import AnalysisModule
from plmdepth.analysis.tables import CurveLabels, curve_table, matrix_table, scalar_table
from plmdepth.cells.cell import Cell, Findings
from plmdepth.cells.context import RunContext
from plmdepth.cells.inputs import check_dataset, check_objective, inputs_of
from plmdepth.controls.control import Control
from plmdepth.errors import InputError
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack, weights_digest
from plmdepth.metrics.accumulators import Estimate
from plmdepth.metrics.metric import Metric
from plmdepth.objectives.objective import Objective
from plmdepth.proteins.datasets.dataset import Dataset
from plmdepth.proteins.selection import ProteinSet
from plmdepth.results.collectives import OwnShare
from plmdepth.results.identity import Identity
from plmdepth.results.processes import is_first
from plmdepth.results.result import Measured
from plmdepth.results.sequence_table import SequenceTable, merge_shares


@dataclass(frozen=True)
class Analysis(Cell):
    """One cell: model x dataset x metric (x seed).

    Attributes:
        model: the model, after the control.
        dataset: where its proteins come from.
        proteins: the proteins to measure, after the control.
        objective: how they are presented.
        metric: what is measured.
        metric_name: the metric's option name.
        control: what the control does to the loaded stack.
        trainer: makes the trainer that drives the run.
        seed: the run's seed.
        options: the options of the objective, the metric, the control and the trainer that decide numbers.
    """

    shared: ClassVar[bool] = True
    model: LanguageModel
    dataset: Dataset
    proteins: ProteinSet
    objective: Objective
    metric: Metric
    metric_name: str
    control: Control
    trainer: Callable[[], Trainer]
    seed: int
    options: Mapping[str, Any]

    @cached_property
    def identity(self) -> Identity:
        """Return what determines the numbers of this cell."""
        facts = {
            "model": self.model.facts(),
            "weights": weights_digest(self.model, self.seed),
            "proteins": self.proteins.digest,
            "seed": self.seed,
            **self.options,
        }
        return Identity("analyze", self.model.name, self.dataset.name, self.metric_name, facts)

    @classmethod
    def of(cls, run: RunContext) -> Self:
        """Return the cell of a metric.

        Raises:
            InputError: model, objective and proteins do not fit together.
        """
        model = run.control.model(run.model.resolved())
        check_objective(model, run.objective)
        check_head(run.asked, run.option, model.predicts)
        check_dataset(model, run.dataset)
        proteins = inputs_of(model, run.dataset.proteins(model.max_length, run.seed), run.asked.reads_backbones)
        return cls(
            model=model,
            dataset=run.dataset,
            proteins=replace(proteins, proteins=run.control.proteins(proteins.proteins, run.seed)),
            objective=run.objective,
            metric=run.asked,
            metric_name=run.option,
            control=run.control,
            trainer=run.trainer,
            seed=run.seed,
            # A lens counts with the hash of its translators, and only where there is one.
            options=run.options("objective", "metric", "control") | ({} if run.lens is None else {"lens": run.lens}),
        )

    def measure(self, staging: Path) -> Findings | None:
        """Measure the cell; write curves, matrices and sequences."""
        stack = self.control.stack(load_stack(self.model, self.seed))
        check_head(self.metric, self.metric_name, stack.anatomy.head is not None)
        return replace(self, metric=self.metric.bound(stack))._measured(stack, staging)

    def _measured(self, stack: LayerStack, staging: Path) -> Findings | None:
        module = _measure(self, stack, staging / "sequences.parquet")
        estimate = module.curves.compute()
        pairs = module.matrices.compute() if self.metric.matrices else None
        more = module.statistics.compute() if module.statistics else {}
        if not is_first():
            return None
        scoped = _scoped_estimates(self, module)
        pq.write_table(_curves(self, stack, {"": estimate, **scoped}), staging / "curves.parquet")
        matrices = matrix_table(pairs, self.metric.matrices) if pairs else {}
        if module.statistics:
            matrices |= {name: table.cpu().numpy() for name, table in module.statistics.tables().items()}
        if matrices:
            save_file(matrices, staging / "matrices.safetensors")
        meaningless = self.metric.meaningless(stack)
        found = scalar_table(estimate, pairs, self.metric, stack.n_layers, meaningless)
        found["scalars"] |= more
        found["scalar_intervals"] |= dict.fromkeys(more)
        # Matrices are kept over all sequences alone, so a scope has no scalars where they need them.
        scopes = {
            name: {} if self.metric.matrices else scalar_table(each, None, self.metric, stack.n_layers, meaningless)
            for name, each in scoped.items()
        }
        measured = Measured(
            device=str(module.device),
            dtype=self.model.dtype,
            sequences_measured=len(self.proteins.proteins),
            residues_measured=module.residues,
            sequences_skipped=Counter(record.kind for record in self.proteins.skipped),
            letters_changed=self.proteins.changes,
            notes=[
                *self.proteins.notes,
                *stack.notes,
                *self.model.length_notes(len(each) for each in self.proteins.proteins),
            ],
        )
        sections = {"scopes": scopes, "quantities": self.metric.described(stack)}
        return Findings(found["scalars"], found["scalar_intervals"], measured, sections)


def cell_of(run: RunContext) -> Cell:
    """Return the cell of what is asked for: its own, or that of a metric.

    Raises:
        InputError: something in the configuration is wrong.
    """
    own = getattr(run.asked, "cell", None)
    return own(run) if own else Analysis.of(run)


def check_head(metric: Metric, option: str, has_head: bool) -> None:
    """Refuse a metric of predictions for a model that makes none.

    Raises:
        InputError: the metric reads predictions, and the model has no head.
    """
    if metric.needs_head and not has_head:
        raise InputError(
            f"metric={option} reads predictions, and this model predicts nothing by itself (an encoder of T5, and "
            "weights without a language-model head, predict nothing); choose a metric that needs none (docs/models.md)"
        )


def _measure(analysis: Analysis, stack: LayerStack, sequences: Path) -> AnalysisModule:
    batches = BatchedProteins(
        analysis.proteins.proteins, analysis.objective, stack.spelling, analysis.dataset.tokens_per_batch, analysis.seed
    )
    with SequenceTable(sequences) as table:
        table.add_skipped(analysis.proteins.skipped)
        module = AnalysisModule(stack, analysis.metric, batches, table, analysis.seed)
        loader = DataLoader(batches, batch_size=None, sampler=OwnShare(len(batches)))
        analysis.trainer().test(module, loader, verbose=False)
    merge_shares(sequences, len(analysis.proteins.skipped), batches.sizes)
    module.combine()
    return module


def _scoped_estimates(analysis: Analysis, module: AnalysisModule) -> dict[str, Estimate]:
    """Return what every scope says that has a sequence."""
    estimates = zip(analysis.objective.scopes, (each.compute() for each in module.scoped), strict=True)
    return {scope: estimate for scope, estimate in estimates if bool(estimate.n.any())}


def _curves(analysis: Analysis, stack: LayerStack, estimates: Mapping[str, Estimate]) -> pa.Table:
    """Return the curves over all sequences, whose scope is empty, and those of every scope."""
    labels = CurveLabels.of(analysis.model, stack, analysis.objective.name, analysis.dataset.name)
    return pa.concat_tables(
        curve_table(estimate, analysis.metric.quantities, replace(labels, scope=scope), stack.spelling.unit)
        for scope, estimate in estimates.items()
    )
