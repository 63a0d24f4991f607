"""What the labels of a table are: which task they make, and their numbers."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd

from plmdepth.errors import InputError
from plmdepth.proteins.tables.reading import is_missing
from plmdepth.proteins.tasks.task import NOT_SCORED, Kind

TableTask = Literal["regression", "classification", "multilabel", "residue_classification", "residue_regression"]
KINDS: Mapping[TableTask, Kind] = MappingProxyType(
    {
        "regression": "regression",
        "classification": "multiclass",
        "multilabel": "multilabel",
        "residue_classification": "residue",
        "residue_regression": "residue_regression",
    }
)
"""The kind of a task by the word that a person chooses it with."""

_MOST_STATES = 30
_TERMS_BETWEEN = ";"


@dataclass(frozen=True)
class Labels:
    """The labels of a table.

    Attributes:
        kind: what a label is.
        classes: names of classes or terms as they stand in the table; of a regression, the columns.
        values: the label of every row that has one, by its number, as `Labelled.label` has it.
    """

    kind: Kind
    classes: tuple[str, ...]
    values: Mapping[int, np.ndarray]


def read_labels(
    frame: pd.DataFrame, columns: Sequence[str], lengths: Mapping[int, int], task: TableTask | None
) -> Labels:
    """Return the labels of the rows that have any.

    Args:
        frame: the table.
        columns: where its labels are.
        lengths: how many characters each row's sequence has, by its number.
        task: what they are; None infers it where there is one reading.

    Raises:
        InputError: labels can be read in two ways or in none, a value is of another kind than the others, or all are
            equal.
    """
    rows = {int(number): [_plain(value) for value in values] for number, *values in frame[list(columns)].itertuples()}
    rows = {number: values for number, values in rows.items() if any(value is not None for value in values)}
    if not rows:
        raise InputError(f"no row has a label in {' or '.join(columns)}")
    known = {number: values[0] for number, values in rows.items()}
    chosen = task or (_task_of_column(columns[0], known, lengths) if len(columns) == 1 else _task_of(columns, rows))
    if len(columns) > 1 and chosen not in ("regression", "multilabel"):
        raise InputError(f"dataset.task={chosen} has one column of labels, and dataset.label names {len(columns)}")
    labels = _ENCODERS[chosen](columns, rows, lengths)
    _check_varied(labels, columns)
    return labels


def _plain(value: Any) -> Any:
    """Return a value without spaces around it, a list for what is one, None for what says nothing."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return [each.item() if isinstance(each, np.generic) else each for each in value]
    if is_missing(value):
        return None
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("["):
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return text
    return text


def _number(value: Any) -> float | None:
    """Return a value as a number; None if it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _task_of(columns: Sequence[str], rows: Mapping[int, Sequence[Any]]) -> TableTask:
    """Return the task of several columns."""
    numbers = [_number(value) for values in rows.values() for value in values if value is not None]
    if None in numbers:
        raise InputError(f"columns {', '.join(columns)} hold text; several columns are numbers, or 0 and 1 for terms")
    if set(numbers) <= {0.0, 1.0}:
        return "multilabel"
    return "regression"


def _task_of_column(column: str, known: Mapping[int, Any], lengths: Mapping[int, int]) -> TableTask:
    """Return the task of one column, where its values have one reading."""
    if any(isinstance(value, list) for value in known.values()):
        return _task_of_lists(column, known, lengths)
    numbers = {row: _number(value) for row, value in known.items()}
    odd = [row for row, number in numbers.items() if number is None]
    if not odd:
        return _task_of_numbers(column, [number for number in numbers.values() if number is not None])
    if len(odd) < len(known) / 10:
        raise InputError(
            f"row {odd[0]}: the label {known[odd[0]]!r} in {column} is no number, as most others are; mend it, or "
            "say dataset.task=classification"
        )
    spelt = {letter for value in known.values() for letter in str(value)}
    if len(spelt) <= _MOST_STATES and all(len(str(value)) == lengths[row] for row, value in known.items()):
        return "residue_classification"
    return "classification"


def _task_of_numbers(column: str, numbers: Sequence[float]) -> TableTask:
    if any(math.isfinite(number) and number != int(number) for number in numbers):
        return "regression"
    if len(set(numbers)) <= 2:
        return "classification"
    raise InputError(
        f"the labels in {column} are whole numbers with {len(set(numbers))} values, which are classes or measurements; "
        "say dataset.task=classification or dataset.task=regression"
    )


def _task_of_lists(column: str, known: Mapping[int, Any], lengths: Mapping[int, int]) -> TableTask:
    values = [each for value in known.values() for each in (value if isinstance(value, list) else [value])]
    if all(isinstance(value, list) and len(value) == lengths[row] for row, value in known.items()):
        fractions = any(isinstance(each, float) and each != int(each) for each in values if each is not None)
        return "residue_regression" if fractions else "residue_classification"
    if all(isinstance(each, str) for each in values):
        return "multilabel"
    row = next(row for row, value in known.items() if not isinstance(value, list) or len(value) != lengths[row])
    raise InputError(
        f"row {row}: the labels in {column} are lists, and this one is not as long as its sequence "
        f"({lengths[row]}); a list has a label a residue, or names of terms"
    )


def _regression(columns: Sequence[str], rows: Mapping[int, Sequence[Any]], lengths: Mapping[int, int]) -> Labels:  # noqa: ARG001 (the signature of all)
    values = {
        row: np.array([_measured(value, row, column) for value, column in zip(each, columns, strict=True)])
        for row, each in rows.items()
    }
    return Labels("regression", tuple(columns), values)


def _measured(value: Any, row: int, column: str) -> float:
    """Return a measured value; NaN where there is none."""
    if value is None:
        return math.nan
    number = _number(value)
    if number is None or math.isinf(number):
        raise InputError(f"row {row}: the label {value!r} in {column} is no finite number; mend it or leave it empty")
    return number


def _classification(columns: Sequence[str], rows: Mapping[int, Sequence[Any]], lengths: Mapping[int, int]) -> Labels:  # noqa: ARG001
    names = {row: str(values[0]) for row, values in rows.items()}
    classes = tuple(sorted(set(names.values()), key=_natural))
    return Labels("multiclass", classes, {row: np.array(classes.index(name)) for row, name in names.items()})


def _multilabel(columns: Sequence[str], rows: Mapping[int, Sequence[Any]], lengths: Mapping[int, int]) -> Labels:  # noqa: ARG001
    if len(columns) == 1:
        terms = {row: _terms(values[0]) for row, values in rows.items()}
        classes = tuple(sorted(set().union(*terms.values()), key=_natural))
        return Labels("multilabel", classes, {row: np.isin(classes, sorted(found)) for row, found in terms.items()})
    values = {}
    for row, each in rows.items():
        for value, column in zip(each, columns, strict=True):
            if _number(value) not in (0.0, 1.0):
                said = "is missing" if value is None else f"is {value!r}"
                raise InputError(f"row {row}: the term {column} {said}; a term is 0 or 1 in every row with a label")
        values[row] = np.array([_number(value) == 1.0 for value in each])
    return Labels("multilabel", tuple(columns), values)


def _terms(value: Any) -> set[str]:
    parts = value if isinstance(value, list) else str(value).split(_TERMS_BETWEEN)
    return {str(part).strip() for part in parts if str(part).strip()}


def _residue_classes(columns: Sequence[str], rows: Mapping[int, Sequence[Any]], lengths: Mapping[int, int]) -> Labels:
    known = {row: [_state(each) for each in values[0]] for row, values in _residues(columns, rows, lengths).items()}
    classes = tuple(sorted({state for states in known.values() for state in states if state is not None}, key=_natural))
    number = {state: place for place, state in enumerate(classes)} | {None: NOT_SCORED}
    return Labels(
        "residue", classes, {row: np.array([number[state] for state in states]) for row, states in known.items()}
    )


def _state(value: Any) -> str | None:
    return None if value is None or value == "-" else str(value)


def _residue_numbers(columns: Sequence[str], rows: Mapping[int, Sequence[Any]], lengths: Mapping[int, int]) -> Labels:
    values = {
        row: np.array([_measured(_plain(each), row, columns[0]) for each in found[0]])
        for row, found in _residues(columns, rows, lengths).items()
    }
    return Labels("residue_regression", tuple(columns), values)


def _residues(
    columns: Sequence[str], rows: Mapping[int, Sequence[Any]], lengths: Mapping[int, int]
) -> Mapping[int, Sequence[Any]]:
    """Return labels of residues, checked to be one a residue."""
    for row, (value, *_) in rows.items():
        if not isinstance(value, (str, list)) or len(value) != lengths[row]:
            found = f"{len(value)} labels" if isinstance(value, (str, list)) else repr(value)
            raise InputError(f"row {row}: {found} in {columns[0]} for {lengths[row]} residues; give one a residue")
    return rows


def _natural(name: str) -> tuple[float, str]:
    """Sort numbers by value and before names."""
    number = _number(name)
    return (math.inf if number is None or math.isnan(number) else number, name)


def _check_varied(labels: Labels, columns: Sequence[str]) -> None:
    """Refuse labels that are all the same.

    Raises:
        InputError: they are.
    """
    if labels.kind in ("multiclass", "residue") and len(labels.classes) < 2:
        only = labels.classes[0] if labels.classes else "missing"
        raise InputError(f"all labels in {columns[0]} are {only}; there is nothing to tell apart")
    if not labels.kind.endswith("regression"):
        return
    n_columns = len(labels.classes)
    measured = np.concatenate([value.reshape(-1, n_columns) for value in labels.values.values()])
    for column, values in zip(labels.classes, measured.T, strict=True):
        if len(np.unique(values[np.isfinite(values)])) < 2:
            raise InputError(f"all labels in {column} are equal; there is nothing to predict")


_ENCODERS: Mapping[TableTask, Callable[[Sequence[str], Mapping[int, Sequence[Any]], Mapping[int, int]], Labels]]
_ENCODERS = MappingProxyType(
    {
        "regression": _regression,
        "classification": _classification,
        "multilabel": _multilabel,
        "residue_classification": _residue_classes,
        "residue_regression": _residue_numbers,
    }
)
