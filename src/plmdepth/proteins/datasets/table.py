"""``dataset=table``: the sequences and labels of any table, with its own splits or honest ones made here."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.labelled import LabelledDataset
from plmdepth.proteins.tables.columns import Columns, find_columns
from plmdepth.proteins.tables.labels import Labels, TableTask, read_labels
from plmdepth.proteins.tables.mutants import numbered_parent, parse_mutant, read_parent
from plmdepth.proteins.tables.reading import is_missing, read_table
from plmdepth.proteins.tables.splits import SplitBy, Splits, given_splits, leakage, made_splits
from plmdepth.proteins.tasks.raw import MAIN_SPLITS, Entry, RawTask, letters_of
from plmdepth.proteins.tasks.task import Kind

Duplicates = Literal["keep", "first", "mean"]
LEAST_ITEMS = 20
"""Fewer proteins in a split tell nothing."""


@dataclass(frozen=True, kw_only=True)
class TableDataset(LabelledDataset):
    """A table with a sequence and one or more labels a row.

    Attributes:
        path: CSV, TSV, parquet, JSON lines or FASTA with ``KEY=VALUE`` in its headers, plain or gzipped.
        label: the column or columns of labels; None finds the usual names.
        sequence: the column of residues; None finds it.
        cluster: the column of rows that stay in one split; None finds it.
        parent: of a table of mutants alone: a FASTA file or the sequence that they come from.
        task: what the labels are; None infers it where there is one reading.
        split_by: what makes rows alike that must stay in one split; ``auto`` takes the table's own split, else its
            clusters, else mutated positions where all are mutants of one parent, else identity.
        identity: from which identity two sequences are alike.
        valid_share: part of the rows that choose, where the table does not say.
        test_share: part of the rows that are scored once, where the table does not say.
        duplicates: what becomes of a sequence with several labels: ``mean`` (of measurements), ``first`` or ``keep``;
            None takes the mean of measurements and refuses classes that disagree.
        split_seed: decides which cluster goes into which split.
    """

    path: str
    label: str | list[str] | None = None
    sequence: str | None = None
    cluster: str | None = None
    parent: str | None = None
    task: TableTask | None = None
    split_by: SplitBy = "auto"
    identity: float = 0.3
    valid_share: float = 0.15
    test_share: float = 0.15
    duplicates: Duplicates | None = None
    split_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.identity <= 1:
            raise InputError(f"dataset.identity must be above 0 and at most 1, got {self.identity}")
        for option in ("valid_share", "test_share"):
            if not 0 < getattr(self, option) < 1:
                raise InputError(f"dataset.{option} must be above 0 and below 1, got {getattr(self, option)}")
        if self.valid_share + self.test_share >= 1:
            raise InputError("dataset.valid_share and dataset.test_share leave nothing to train on; lower them")

    def read(self) -> RawTask:
        """Read the table, decide what its labels are, and divide it.

        Raises:
            InputError: a row or a column is not as it should be; the message names it and says what to do.
        """
        frame = read_table(Path(self.path).expanduser())
        columns = find_columns(frame, self.sequence, self.label, self.cluster)
        dropped: Counter[str] = Counter()
        texts = _texts(frame, columns, self.parent, dropped)
        lengths = {row: len(text) for row, text in texts.items()}
        labels = read_labels(frame.loc[list(texts)], columns.labels, lengths, self.task)
        dropped["rows without a label"] += len(texts) - len(labels.values)
        sequences = {row: letters_of(texts[row]) for row in labels.values}
        splits = self._splits(frame, columns, sequences)
        dropped.update(splits.dropped)
        values = {row: value for row, value in labels.values.items() if row in splits.of}
        values = _without_copies(values, sequences, splits.of, labels.kind, self.duplicates, dropped)
        values, classes = _known_classes(values, labels, splits, dropped)
        names = _names(frame, columns, values)
        entries = {
            split: tuple(Entry(names[row], texts[row], each) for row, each in values.items() if splits.of[row] == split)
            for split in MAIN_SPLITS
        }
        for split, members in entries.items():
            if len(members) < LEAST_ITEMS:
                raise InputError(
                    f"{self.path}: {len(members)} proteins in {split} ({splits.how}), at least {LEAST_ITEMS} are "
                    "needed; give more rows, or change dataset.valid_share, dataset.test_share or dataset.split_by"
                )
        train, test = ([letters_of(each.text) for each in entries[split]] for split in ("train", "test"))
        facts = {"by": splits.how, "test_with_a_train_neighbour_at_identity": leakage(train, test)}
        return RawTask(labels.kind, classes, entries, dropped=dict(+dropped), split=facts)

    def _splits(self, frame: pd.DataFrame, columns: Columns, sequences: Mapping[int, str]) -> Splits:
        """Return the table's own splits, what they lack taken out of train, or splits that are made here."""
        if self.split_by == "column" and columns.split is None:
            raise InputError("dataset.split_by=column: the table has no column split; choose another way to divide it")
        groups = None if columns.cluster is None else _groups(frame, columns.cluster)
        shares = {"valid": self.valid_share, "test": self.test_share}
        if columns.split is None or self.split_by not in ("auto", "column"):
            return self._made(sequences, self.split_by, groups, shares)
        given = given_splits(frame.loc[list(sequences)], columns.split, columns.validation)
        there = set(given.of.values())
        if "train" not in there:
            raise InputError(f"column {columns.split} has no row of train; a probe learns on train")
        if not (lacking := {name: share for name, share in shares.items() if name not in there}):
            return given
        train = {row: sequences[row] for row, split in given.of.items() if split == "train"}
        more = self._made(train, "auto", groups, lacking)
        rest = {row: split for row, split in given.of.items() if split != "train"}
        how = f"{given.how}, {' and '.join(lacking)} taken out of train by {more.how}"
        return Splits(rest | dict(more.of), how, Counter(given.dropped) + Counter(more.dropped))

    def _made(
        self, sequences: Mapping[int, str], by: SplitBy, groups: Mapping[int, Any] | None, shares: Mapping[str, float]
    ) -> Splits:
        parts = {"train": 1 - sum(shares.values()), **shares}
        return made_splits(sequences, by, groups, parts, self.identity, self.split_seed)


def _texts(frame: pd.DataFrame, columns: Columns, parent: str | None, dropped: Counter[str]) -> dict[int, str]:
    """Return the sequence of every row that has one, as it stands or as a mutant of the parent."""
    column = columns.sequence or columns.mutant
    known = {int(str(row)): str(value) for row, value in frame[column].items() if not is_missing(value)}
    dropped[f"rows without a {'sequence' if columns.sequence else 'mutant'}"] += len(frame) - len(known)
    if columns.sequence is not None:
        return {row: "".join(text.split()) for row, text in known.items()}
    if parent is None:
        raise InputError(
            f"column {column} holds mutants without their sequences; give dataset.parent=FASTA_OR_SEQUENCE"
        )
    mutants = {}
    for row, text in known.items():
        try:
            mutants[row] = parse_mutant(text)
        except ValueError as error:
            raise InputError(f"row {row}: {error}") from error
    numbered = numbered_parent(read_parent(parent), mutants)
    return {row: numbered.mutated(mutant) for row, mutant in mutants.items()}


def _groups(frame: pd.DataFrame, column: str) -> dict[int, Any]:
    """Return the cluster of every row; a row without one is a cluster of its own."""
    values = ((int(str(row)), value) for row, value in frame[column].items())
    return {row: ("row", row) if is_missing(value) else str(value) for row, value in values}


def _without_copies(
    values: Mapping[int, np.ndarray],
    sequences: Mapping[int, str],
    split_of: Mapping[int, str],
    kind: Kind,
    policy: Duplicates | None,
    dropped: Counter[str],
) -> dict[int, np.ndarray]:
    """Return one row for every sequence of a split, with the label that the policy gives it."""
    if policy == "keep":
        return dict(values)
    measured = kind.endswith("regression")
    if policy == "mean" and not measured:
        raise InputError("dataset.duplicates=mean is for measurements; classes have none, use first or keep")
    rows_of: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in values:
        rows_of[split_of[row], sequences[row]].append(row)
    kept = {}
    for rows in rows_of.values():
        first, *others = rows
        dropped["rows of a sequence that is there already"] += len(others)
        kept[first] = values[first]
        differing = [row for row in others if not np.array_equal(values[row], values[first], equal_nan=measured)]
        if not differing or policy == "first":
            continue
        if not measured:
            raise InputError(
                f"rows {first} and {differing[0]} are one sequence with different labels; mend them, or choose "
                "dataset.duplicates=first or keep"
            )
        stacked = np.stack([values[row] for row in rows])
        known = ~np.isnan(stacked)
        kept[first] = np.where(known.any(0), np.where(known, stacked, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)
        dropped["sequences whose measurements were averaged"] += 1
    return kept


def _known_classes(
    values: Mapping[int, np.ndarray], labels: Labels, splits: Splits, dropped: Counter[str]
) -> tuple[dict[int, np.ndarray], tuple[str, ...]]:
    """Return the rows whose class train has, and the classes.

    Raises:
        InputError: the table's own split has a class that its train lacks.
    """
    if labels.kind != "multiclass":
        return dict(values), labels.classes
    learnt = sorted({int(value) for row, value in values.items() if splits.of[row] == "train"})
    foreign = [row for row, value in values.items() if int(value) not in learnt]
    if foreign and splits.how.startswith("column"):
        name, split = labels.classes[int(values[foreign[0]])], splits.of[foreign[0]]
        raise InputError(
            f"row {foreign[0]}: no row of train has the label {name!r} of this row of {split}; "
            "mend the split, or choose dataset.split_by=random or cluster"
        )
    dropped["rows of a class that train lacks"] += len(foreign)
    place = {number: np.array(index) for index, number in enumerate(learnt)}
    kept = {row: place[int(value)] for row, value in values.items() if int(value) in place}
    return kept, tuple(labels.classes[number] for number in learnt)


def _names(frame: pd.DataFrame, columns: Columns, rows: Iterable[int]) -> dict[int, str]:
    """Return a name for every row, its own where it has one; where two rows have one name, their numbers are added."""
    column = columns.identifier or columns.mutant
    own = {} if column is None else frame[column].to_dict()
    found = {row: f"row_{row}" if is_missing(own.get(row)) else str(own[row]).strip() for row in rows}
    often = Counter(found.values())
    return {row: name if often[name] == 1 else f"{name}#{row}" for row, name in found.items()}
