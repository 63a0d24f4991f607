"""A task: proteins with labels, in splits, and how predictions of the labels are scored."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np

from plmdepth.proteins.protein import Protein

Kind = Literal["multilabel", "multiclass", "residue", "regression", "residue_regression"]

NOT_SCORED = -1
"""The label of a residue that no one may be scored on: unresolved, disordered, or outside the published mask."""

METRICS = MappingProxyType(
    {
        "multilabel": ("f1_max", "auprc_micro"),
        "multiclass": ("accuracy", "macro_accuracy", "mcc"),
        "residue": ("accuracy", "macro_accuracy", "mcc"),
        "regression": ("spearman", "pearson", "r2", "rmse"),
        "residue_regression": ("spearman", "pearson", "r2", "rmse"),
    }
)
"""What each kind of task is scored by; the first is the main one."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """A protein with its label.

    Attributes:
        protein: what a model reads.
        label: multilabel: bool ``[class]``; multiclass: an int64 scalar; residue: int64 ``[residue]``, `NOT_SCORED`
            where a residue is not scored; regression: float64 ``[target]``, and ``[residue]`` of residues, NaN where
            nothing was measured.
    """

    protein: Protein
    label: np.ndarray


class Part(NamedTuple):
    """Proteins that are scored together.

    Attributes:
        name: of a split, or of a subset of the test: ``test_identity_30``.
        split: where they are.
        places: which of the split they are, from 0.
    """

    name: str
    split: str
    places: Sequence[int]


@dataclass(frozen=True, eq=False)
class Task:
    """Everything a probe is trained and tested on.

    Attributes:
        name: the config option.
        kind: what a label is.
        classes: the names of the classes, spelled as published; a label counts them from 0.
        splits: ``train``, ``valid``, ``test`` and further tests.
        metrics: names of the scores; the first is the main one.
        subsets: ids of test proteins, per identity cut-off for example.
        dropped: what was left out, and how often: ``split: reason``. Reasons name residues or terms where it is these
            that were left out; otherwise proteins are counted.
        absent: further tests and subsets that are not there, and why.
        changes: letters changed and sequences truncated: ``split: kind``, as `plmdepth.proteins.selection` counts them.
        notes: what else a person should know, a sentence each.
        split: what decided the splits and how far test is from train, where that is known.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[Labelled, ...]] = field(repr=False)
    metrics: tuple[str, ...]
    subsets: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)
    dropped: Mapping[str, int] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    split: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_regression(self) -> bool:
        """Whether labels are measurements."""
        return self.kind in ("regression", "residue_regression")

    @property
    def of_residues(self) -> bool:
        """Whether every residue has a label."""
        return self.kind in ("residue", "residue_regression")

    @property
    def parts(self) -> tuple[Part, ...]:
        """What is scored: every split but train, then the subsets of test that have a protein."""
        splits = [Part(name, name, range(len(members))) for name, members in self.splits.items() if name != "train"]
        tests = [each.protein.id for each in self.splits.get("test", ())]
        subsets = [
            Part(f"test_{name}", "test", tuple(place for place, test in enumerate(tests) if test in ids))
            for name, ids in self.subsets.items()
        ]
        return (*splits, *(part for part in subsets if part.places))

    def positives(self, split: str) -> np.ndarray:
        """Return how often each class is true in a split, int64 ``[class]``: proteins, or residues that are scored."""
        labels = [each.label for each in self.splits[split]]
        if self.kind == "multilabel":
            return np.stack(labels).sum(axis=0, dtype=np.int64)
        numbers = np.concatenate([label.reshape(-1) for label in labels])
        return np.bincount(numbers[numbers != NOT_SCORED], minlength=len(self.classes))

    def without_positive(self, split: str = "train") -> tuple[str, ...]:
        """Return the classes that are never true in a split: a probe cannot learn those that train lacks."""
        if self.is_regression:
            return ()
        counts = self.positives(split)
        return tuple(name for name, count in zip(self.classes, counts, strict=True) if count == 0)

    @property
    def digest(self) -> str:
        """Hash of all splits, ids, sequences and labels, whatever file they came from and in whatever order."""
        lines = sorted(
            f"{split}\t{each.protein.id}\t{each.protein.sequence}\t{_label_digest(each.label)}"
            for split, members in self.splits.items()
            for each in members
        )
        return hashlib.sha256("\n".join([self.kind, *self.classes, *lines]).encode()).hexdigest()


def _label_digest(label: np.ndarray) -> str:
    return hashlib.sha256(label.astype("<f8" if label.dtype.kind == "f" else "<i8").tobytes()).hexdigest()
