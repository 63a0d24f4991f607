"""Labels of new proteins from a trained probe that is left early, for a FASTA file of any size.

Records are read, predicted and written some at a time, so memory does not grow with their number. A protein leaves at
the threshold that loses nothing on validation, and a multi-label prediction names the terms at or above the probability
at which F1 was highest there, for the predictions as they left.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

import pyarrow as pa
import torch

from plmdepth.early_exit.confidence import ProteinConfidence
from plmdepth.early_exit.inference import EarlyExit
from plmdepth.early_exit.naming import NAMINGS, Naming
from plmdepth.early_exit.options import EarlyExitStudy
from plmdepth.early_exit.policy import Fallback, exits
from plmdepth.early_exit.spoken import check_memory, fitted_temperatures, listen, said_of
from plmdepth.early_exit.study import Said, choices, exit_table
from plmdepth.early_exit.trained import TrainedProbe
from plmdepth.errors import InputError
from plmdepth.proteins.protein import Protein, Skipped
from plmdepth.proteins.seen import SeenOnDisk
from plmdepth.proteins.selection import Rules, usable
from plmdepth.results.growing_table import GrowingTable
from plmdepth.scores.f1_max import F1Max

CHUNK = 512
"""Records that are in memory at once; batches of like length are made among them."""

LEFT_OUT = pa.schema([("id", pa.string()), ("length", pa.int64()), ("reason", pa.string())])


@dataclass(frozen=True)
class Setting:
    """When proteins leave, and what is said of them.

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
    def naming(self) -> Naming:
        """How its predictions are said."""
        task = self.probe.cell.task
        return NAMINGS[task.kind](task.classes, self.setting.term_threshold)

    @property
    def schema(self) -> pa.Schema:
        """The columns of what it predicts."""
        return self.naming.schema

    @cached_property
    def early(self) -> EarlyExit:
        """The model that is left at the setting."""
        return self.probe.leaving(self.confidence, self.setting.threshold, self.setting.fallback)

    def rows(self, proteins: Sequence[Protein], advance: Callable[[int], None]) -> list[tuple[Any, ...]]:
        """Return the predictions of proteins in their order, a row each; tell how many more are done as they are."""
        found: dict[int, tuple[Any, ...]] = {}
        for places, left in self.early.run(proteins, self.probe.cell.tokens_per_batch):
            each = zip(left.probabilities.cpu(), left.present.cpu(), strict=True)
            spoken = [self.naming.of(probabilities[present]) for probabilities, present in each]
            where = zip(left.layer.tolist(), left.computed.tolist(), strict=True)
            found |= {
                place: (proteins[place].id, *said, *layers)
                for place, said, layers in zip(places, spoken, where, strict=True)
            }
            advance(len(places))
        return [found[place] for place in range(len(proteins))]


@dataclass
class Tally:
    """What was done, in numbers.

    Attributes:
        predicted: proteins.
        layers: layers that were run for them, together.
        skipped: records that are no protein that the model reads, by kind of reason.
        changes: letters changed and proteins truncated.
    """

    predicted: int
    layers: int
    skipped: Counter[str]
    changes: Counter[str]


def setting_of(study: EarlyExitStudy, valid: Said, metric: str) -> Setting:
    """Return the setting that an option or else validation picks.

    Args:
        study: the options.
        valid: what all heads say of validation.
        metric: the task's main score.

    Raises:
        InputError: no threshold keeps the score of the last layer, and none was given.
    """
    fallback = study.fallback or "last"
    threshold = _no_loss(study, valid, metric, fallback) if study.threshold is None else float(study.threshold)
    return Setting(threshold, fallback, _term_threshold(valid, threshold, fallback))


def predictor_of(probe: TrainedProbe, study: EarlyExitStudy) -> Predictor:
    """Return the predictor of a trained probe: temperatures and setting come from validation."""
    task, rule = probe.cell.task, study.protein_confidence(probe.cell.task.kind)
    check_memory(task, ["valid"], probe.stack.n_layers, study.memory_gigabytes)
    spoken = listen(probe, "valid")
    if study.temperature:
        probe = replace(probe, temperatures=fitted_temperatures(probe, spoken))
    said = said_of(probe, "valid", spoken, rule, 0)
    return Predictor(probe, rule, setting_of(study, said, task.metrics[0]))


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
    with SeenOnDisk() as seen:
        for chunk in _chunks(records):
            skipped: list[Skipped] = []
            kept = list(usable(chunk, rules, None, skipped, seen))
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


def _chunks(records: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    remaining = iter(records)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk


def _no_loss(study: EarlyExitStudy, valid: Said, metric: str, fallback: Fallback) -> float:
    picked = choices(exit_table(valid, study.grid(valid.confidence), metric), metric)
    found = picked[(picked["goal"] == "no_loss") & (picked["fallback"] == fallback)]["threshold"]
    if found.empty:
        raise InputError(
            f"with exit.fallback={fallback} no threshold keeps the last layer's {metric} on validation; "
            "give exit.threshold=X, or take exit.fallback=last"
        )
    return float(found.iloc[0])


def _term_threshold(valid: Said, threshold: float, fallback: Fallback) -> float | None:
    """Return the probability at which F1 is highest for the predictions with which validation leaves."""
    if valid.kind != "multilabel":
        return None
    left = exits(valid.confidence, torch.tensor([threshold], dtype=torch.float64), fallback)
    score = F1Max(1)
    score.update(valid.taken(left.layer[0])[None], valid.labels)
    return score.compute().threshold.item()
