"""Which column of a table is what: by its usual names in any case, or by the name that the user gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import pandas as pd

from plmdepth.errors import InputError

SEQUENCE = ("sequence", "seq", "protein", "mutated_sequence", "primary")
LABEL = ("label", "labels", "target", "y", "fitness", "score", "dms_score")
IDENTIFIER = ("id", "name", "accession", "mutant")
SPLIT = ("split", "set", "stage")
CLUSTER = ("cluster", "group", "family")
MUTANT = ("mutant", "mutation", "mutations", "variant")
VALIDATION = ("validation",)


@dataclass(frozen=True)
class Columns:
    """The columns of a table by what they hold; None where the table has no such column.

    Attributes:
        labels: one column, or several: a term or a measurement each.
        sequence: residues.
        mutant: substitutions of a parent, ``A23T:G40D``.
        identifier: names of rows.
        split: which split a row is in.
        validation: whether a row of the train split is for validation, as FLIP has it.
        cluster: rows that must stay in one split.
    """

    labels: tuple[str, ...]
    sequence: str | None
    mutant: str | None
    identifier: str | None
    split: str | None
    validation: str | None
    cluster: str | None


def find_columns(
    frame: pd.DataFrame, sequence: str | None, label: str | Sequence[str] | None, cluster: str | None
) -> Columns:
    """Return the columns of a table.

    Args:
        frame: the table.
        sequence: the column of residues; None finds it.
        label: the column or columns of labels; None finds it.
        cluster: the column of rows that stay in one split; None finds it.

    Raises:
        InputError: a column that was named is not there, none is found, or several could be the label.
    """
    given = [label] if isinstance(label, str) else list(label or ())
    labels = tuple(_named(frame, name, "label") for name in given) or (_only_label(frame),)
    residues = _usual(frame, SEQUENCE) if sequence is None else _named(frame, sequence, "sequence")
    mutant = _usual(frame, MUTANT)
    if residues is None and mutant is None:
        raise InputError(
            f"no column of sequences among {_listed(frame)}; name it with dataset.sequence=COLUMN "
            "(or give a column 'mutant' and dataset.parent)"
        )
    return Columns(
        labels=labels,
        sequence=residues,
        mutant=mutant,
        identifier=_usual(frame, IDENTIFIER),
        split=_usual(frame, SPLIT),
        validation=_usual(frame, VALIDATION),
        cluster=_usual(frame, CLUSTER) if cluster is None else _named(frame, cluster, "cluster"),
    )


def _only_label(frame: pd.DataFrame) -> str:
    found = [name for usual in LABEL for name in frame.columns if name.lower() == usual]
    if not found:
        raise InputError(f"no column of labels among {_listed(frame)}; name it with dataset.label=COLUMN")
    if len(found) > 1:
        raise InputError(f"{' and '.join(found)} could both be the label; choose with dataset.label=COLUMN")
    return found[0]


def _usual(frame: pd.DataFrame, names: Sequence[str]) -> str | None:
    return next((column for name in names for column in frame.columns if column.lower() == name), None)


def _named(frame: pd.DataFrame, name: str, option: str) -> str:
    exact = [column for column in frame.columns if column == name]
    found = exact or [column for column in frame.columns if column.lower() == name.lower()]
    if len(found) == 1:
        return str(found[0])
    near = get_close_matches(name.lower(), [column.lower() for column in frame.columns], n=1)
    nearest = next((f" (did you mean {column}?)" for column in frame.columns if [column.lower()] == near), "")
    raise InputError(f"dataset.{option}={name}: no such column{nearest}; the table has {_listed(frame)}")


def _listed(frame: pd.DataFrame) -> str:
    return ", ".join(map(str, frame.columns))
