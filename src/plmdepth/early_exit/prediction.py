"""Labels of new proteins from a trained probe that is left early, for a FASTA file of any size.

Records are read, predicted and written some at a time, so memory does not grow with their number. A protein leaves at
the threshold that loses nothing on validation, and a multi-label prediction names the terms at or above the probability
at which F1 was highest there, for the predictions as they left.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from plmdepth.early_exit.inference import EarlyExit
from plmdepth.early_exit.options import EarlyExitStudy
from plmdepth.early_exit.policy import Fallback, ProteinConfidence, exits
from plmdepth.early_exit.study import HeadOutputs, choices, exit_table
from plmdepth.early_exit.trained_probe import TrainedProbe, check_memory, fitted_temperatures, head_logits
from plmdepth.errors import InputError
from plmdepth.proteins.id_set import IdSetOnDisk
from plmdepth.proteins.protein import Protein, Skipped
from plmdepth.proteins.selection import Rules, usable
from plmdepth.proteins.tasks.task import Kind
from plmdepth.results.growing_table import GrowingTable
from plmdepth.scores.f1_max import F1Max

CHUNK = 512
"""Records that are in memory at once; batches of like length are made among them."""

LEFT_OUT = pa.schema([("id", pa.string()), ("length", pa.int64()), ("reason", pa.string())])
_FLOATS = pa.list_(pa.float32())
LABEL_COLUMNS: MappingProxyType[Kind, Sequence[tuple[str, pa.DataType]]] = MappingProxyType(
    {
        "multiclass": [("label", pa.string()), ("probability", pa.float32())],
        "multilabel": [("labels", pa.list_(pa.string())), ("probabilities", _FLOATS)],
        "residue": [("labels", pa.string()), ("mean_probability", pa.float32()), ("probabilities", _FLOATS)],
    }
)
"""The columns with the labels of a protein, by the kind of the task."""
_BETWEEN_NAMES = ";"


def labels_of(
    probabilities: Tensor, kind: Kind, classes: Sequence[str], term_threshold: float | None
) -> tuple[Any, ...]:
    """Return the values of the label columns for one protein.

    Of a single label: the likeliest class and its probability. Of many: the terms at or above a probability, the
    likeliest first, and their probabilities; none is an empty list. Of residues: the likeliest class of each in order
    as text, ``HHHEEC``, or ``free;free;coupled`` for longer names, the mean of their probabilities, and each of them.

    Args:
        probabilities: ``[row, class]``, one row, or one a residue.
        kind: what a label of the task is.
        classes: their names.
        term_threshold: the probability from which a term is predicted; of a task with many labels alone.
    """
    if kind == "multilabel":
        order = probabilities[0].argsort(descending=True, stable=True).tolist()
        terms = [term for term in order if probabilities[0, term] >= (term_threshold or 0.0)]
        return [classes[term] for term in terms], [_rounded(probabilities[0, term]) for term in terms]
    best, found = probabilities.max(-1)
    if kind == "multiclass":
        return classes[int(found)], _rounded(best[0])
    between = _BETWEEN_NAMES if any(len(name) > 1 for name in classes) else ""
    text = between.join(classes[index] for index in found.tolist())
    return text, _rounded(best.double().mean()), [_rounded(each) for each in best]


def _rounded(probability: Tensor) -> float:
    return round(float(probability), 6)


@dataclass(frozen=True)
class Setting:
    """When proteins leave, and which labels they get.

    Attributes:
        threshold: the confidence at which a protein leaves.
        fallback: what is taken of one that was never sure.
        term_threshold: the probability from which a term is predicted; None where a protein has one label.
    """

    threshold: float
    fallback: Fallback
    term_threshold: float | None


@dataclass(frozen=True)
class Predictor:
    """A trained probe with its setting.

    Attributes:
        probe: the probe, with the temperatures of its heads.
        confidence: how sure the heads are of a protein.
        setting: when proteins leave.
    """

    probe: TrainedProbe
    confidence: ProteinConfidence
    setting: Setting

    @property
    def schema(self) -> pa.Schema:
        """The columns of what it predicts: the layer whose prediction it is comes last, and how many had to be run."""
        layers = [("layer", pa.int64()), ("layers_computed", pa.int64())]
        return pa.schema([("id", pa.string()), *LABEL_COLUMNS[self.probe.cell.task.kind], *layers])

    @cached_property
    def early(self) -> EarlyExit:
        """The model that is left at the setting."""
        return self.probe.early_exit(self.confidence, self.setting.threshold, self.setting.fallback)

    def rows(self, proteins: Sequence[Protein], advance: Callable[[int], None]) -> list[tuple[Any, ...]]:
        """Return the predictions of proteins in their order, a row each; tell how many more are done as they are."""
        task, found = self.probe.cell.task, dict[int, tuple[Any, ...]]()
        for batch, left in self.early.run(proteins, self.probe.cell.tokens_per_batch):
            each = zip(
                left.probabilities.cpu(), left.present.cpu(), left.layer.tolist(), left.computed.tolist(), strict=True
            )
            for place, (probabilities, present, *layers) in zip(batch, each, strict=True):
                labels = labels_of(probabilities[present], task.kind, task.classes, self.setting.term_threshold)
                found[place] = (proteins[place].id, *labels, *layers)
            advance(len(batch))
        return [found[place] for place in range(len(proteins))]


@dataclass
class Tally:
    """What was done, in numbers.

    Attributes:
        predicted: proteins.
        layers: layers that were run for them, in all.
        skipped: records that are no protein that the model reads, by kind of reason.
        changes: letters changed and proteins truncated.
    """

    predicted: int
    layers: int
    skipped: Counter[str]
    changes: Counter[str]


def setting_of(study: EarlyExitStudy, valid: HeadOutputs, metric: str) -> Setting:
    """Return the setting that an option or else validation picks.

    Args:
        study: the options.
        valid: the predictions of all heads for validation.
        metric: the task's main score.

    Raises:
        InputError: no threshold keeps the score of the last layer, and none was given.
    """
    fallback, threshold = study.fallback or "last", study.threshold
    if threshold is None:
        picked = choices(exit_table(valid, study.grid(valid.confidence), metric), metric)
        found = picked[(picked["goal"] == "no_loss") & (picked["fallback"] == fallback)]["threshold"]
        if found.empty:
            raise InputError(
                f"with exit.fallback={fallback} no threshold keeps the last layer's {metric} on validation; "
                "give exit.threshold=X, or take exit.fallback=last"
            )
        threshold = found.iloc[0]
    if valid.kind != "multilabel":
        return Setting(float(threshold), fallback, None)
    left = exits(valid.confidence, torch.tensor([threshold], dtype=torch.float64), fallback)
    score = F1Max(1)
    score.update(valid.predictions(left.layer[0])[None], valid.labels)
    return Setting(float(threshold), fallback, score.compute().threshold.item())


def predictor_of(probe: TrainedProbe, study: EarlyExitStudy) -> Predictor:
    """Return the predictor of a trained probe: temperatures and setting come from validation."""
    task, rule = probe.cell.task, study.protein_confidence(probe.cell.task.kind)
    check_memory(task, ["valid"], probe.stack.n_layers, study.memory_gigabytes)
    logits = head_logits(probe, "valid")
    if study.temperature:
        probe = replace(probe, temperatures=fitted_temperatures(probe, logits))
    valid = HeadOutputs.of(probe, "valid", logits, rule, 0)
    return Predictor(probe, rule, setting_of(study, valid, task.metrics[0]))


def predict_records(
    predictor: Predictor,
    records: Iterable[tuple[str, str]],
    rules: Rules,
    tables: tuple[GrowingTable, GrowingTable],
    advance: Callable[[int], None],
) -> Tally:
    """Predict records and write them.

    Args:
        predictor: the predictor.
        records: (id, text) of each.
        rules: how they become proteins; one that does not is listed and stops nothing.
        tables: the predictions, and what was left out.
        advance: is told how many more records are done.

    Raises:
        InputError: none of the records is a protein.
    """
    tally, first = Tally(0, 0, Counter(), Counter()), ""
    predictions, left_out = tables
    remaining = iter(records)
    with IdSetOnDisk() as ids:
        while chunk := list(islice(remaining, CHUNK)):
            skipped: list[Skipped] = []
            kept = list(usable(chunk, rules, None, skipped, ids))
            rows = predictor.rows([each.protein for each in kept], advance)
            predictions.add(rows)
            left_out.add([(each.id, each.length, each.reason) for each in skipped])
            advance(len(skipped))
            first = first or (skipped[0].reason if skipped else "")
            tally.predicted += len(rows)
            tally.layers += sum(row[-1] for row in rows)
            tally.skipped.update(each.kind for each in skipped)
            tally.changes.update(sum((each.changes for each in kept), Counter()))
    if not tally.predicted:
        raise InputError(
            f"no protein to predict: all {tally.skipped.total()} records were left out, the first because of: {first}"
        )
    return tally
