"""One analysis cell: from configured objects to a record."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pytorch_lightning import Trainer
from safetensors.numpy import save_file
from torch.utils.data import DataLoader

from plmdepth.analysis.batches import BatchedProteins
from plmdepth.analysis.module import AnalysisModule
from plmdepth.analysis.tables import CurveLabels, curve_table, matrix_table, scalar_table
from plmdepth.controls.control import Control
from plmdepth.errors import InputError
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack, weights_digest
from plmdepth.metrics.accumulators import Estimate
from plmdepth.metrics.metric import Metric
from plmdepth.objectives.objective import Objective
from plmdepth.proteins.datasets.dataset import Dataset
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.selection import ProteinSet
from plmdepth.report.figures import write_figures
from plmdepth.results.atomic import write_json
from plmdepth.results.cell_folder import writing_cell
from plmdepth.results.collectives import OwnShare, n_processes
from plmdepth.results.identity import SCHEMA, Identity
from plmdepth.results.processes import is_first
from plmdepth.results.provenance import environment
from plmdepth.results.sequence_table import SequenceTable, merge_shares


@dataclass(frozen=True)
class Analysis:
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


def check_objective(model: LanguageModel, objective: Objective) -> None:
    """Refuse an objective that the model's vocabulary cannot express.

    Raises:
        InputError: the objective hides residues and the model has no mask token.
    """
    if objective.name != "autoregressive" and model.spelling.mask is None:
        raise InputError(
            f"objective={objective.name} hides residues, but {model.name} has no mask token; "
            "use objective=autoregressive"
        )
    if objective.name == "autoregressive" and model.objective != "autoregressive":
        raise InputError(
            f"{model.name} reads both sides of a residue, so it cannot predict the next one; "
            f"use objective={model.objective}"
        )


_STRUCTURE_SOURCES = {
    "dplm2": "dataset=fasta with dataset.structure_tokens=FILE",
    "3di": "dataset=structures with dataset.path=DIR",
}


def has_structure(protein: Protein, alphabet: str) -> bool:
    """Say whether a protein has structure tokens of an alphabet."""
    return protein.structure_tokens is not None and protein.structure_alphabet == alphabet


def readable(model: LanguageModel, proteins: ProteinSet, backbones: bool = False) -> ProteinSet:
    """Return proteins with what the model reads of them, which alone decides numbers, or the metric (``backbones``).

    Raises:
        InputError: the model reads structure tokens or coordinates, and a protein has none.
    """
    alphabet, coordinates = model.spelling.structure_alphabet, model.spelling.reads_coordinates
    if alphabet is not None:
        lacking = [each.id for each in proteins.proteins if not has_structure(each, alphabet)]
        if lacking:
            raise InputError(
                f"model.modality={model.modality} reads structure tokens, and {lacking[0]} has none of {alphabet}; "
                f"use {_STRUCTURE_SOURCES[alphabet]}"
            )
    if coordinates:
        lacking = [each.id for each in proteins.proteins if not each.has_backbone]
        if lacking:
            raise InputError(
                f"model.modality={model.modality} reads coordinates, and {lacking[0]} has no residue with N, CA and C; "
                "use dataset=structures with dataset.path=DIR"
            )
    kept = [each.keeping(tokens=alphabet is not None, backbone=coordinates or backbones) for each in proteins.proteins]
    return replace(proteins, proteins=tuple(kept))


def run_analysis(analysis: Analysis, folder: Path, config: str) -> None:
    """Measure the cell and write its record to ``folder``."""
    with writing_cell(folder, config) as staging:
        started = time.perf_counter()
        stack = analysis.control.stack(load_stack(analysis.model, analysis.seed))
        analysis = replace(analysis, metric=analysis.metric.bound(stack))
        module = _measure(analysis, stack, staging / "sequences.parquet")
        estimate = module.curves.compute()
        pairs = module.matrices.compute() if analysis.metric.matrices else None
        scalars = module.statistics.compute() if module.statistics else {}
        if not is_first():
            return  # its share is done
        scoped = _scoped_estimates(analysis, module)
        curves = _curves(analysis, stack, {"": estimate, **scoped})
        pq.write_table(curves, staging / "curves.parquet")
        matrices = matrix_table(pairs, analysis.metric.matrices) if pairs else {}
        if module.statistics:
            matrices |= {name: table.cpu().numpy() for name, table in module.statistics.tables().items()}
        if matrices:
            save_file(matrices, staging / "matrices.safetensors")
        write_figures(curves.to_pandas(), matrices, staging / "figures")
        result = {
            "schema": SCHEMA,
            "identity": {"id": folder.name, **analysis.identity.facts},
            **scalar_table(estimate, pairs, analysis.metric, stack.n_layers, scalars),
            "scopes": {name: _scoped_scalars(analysis.metric, each, stack.n_layers) for name, each in scoped.items()},
            "provenance": _provenance(analysis, module, time.perf_counter() - started),
        }
        write_json(staging / "result.json", result)


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
    labels, unit = _labels(analysis, stack), stack.spelling.unit
    return pa.concat_tables(
        curve_table(estimate, analysis.metric.quantities, replace(labels, scope=scope), unit)
        for scope, estimate in estimates.items()
    )


def _scoped_scalars(metric: Metric, estimate: Estimate, n_layers: int) -> dict[str, Any]:
    """Return the scalars of one scope; none where they need matrices, which are kept over all sequences alone."""
    return {} if metric.matrices else scalar_table(estimate, None, metric, n_layers)


def _labels(analysis: Analysis, stack: LayerStack) -> CurveLabels:
    return CurveLabels.of(analysis.model, stack, analysis.objective.name, analysis.dataset.name)


def _provenance(analysis: Analysis, module: AnalysisModule, seconds: float) -> dict[str, Any]:
    return {
        **environment(),
        "device": str(module.device),
        "processes": n_processes(),
        "dtype": analysis.model.dtype,
        "wall_seconds": round(seconds, 3),
        "sequences_measured": len(analysis.proteins.proteins),
        "residues_measured": module.residues,
        "sequences_skipped": dict(Counter(record.kind for record in analysis.proteins.skipped)),
        "letters_changed": analysis.proteins.changes,
    }
