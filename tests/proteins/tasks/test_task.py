from dataclasses import replace

import numpy as np
import pytest

from plmdepth.proteins.protein import Protein
from plmdepth.proteins.tasks.task import METRICS, NOT_SCORED, Kind, Labelled, Task


def task(kind: Kind, classes: str, **splits: list[object]) -> Task:
    labelled = {
        split: tuple(Labelled(Protein(f"{split}_{i}", "MKT"), np.array(label)) for i, label in enumerate(labels))
        for split, labels in splits.items()
    }
    return Task("mine", kind, tuple(classes), labelled, METRICS[kind])


def test_positives_of_multilabel_are_proteins_per_class() -> None:
    mine = task("multilabel", "abc", train=[[True, False, False], [True, True, False]], test=[[False, False, True]])
    assert mine.positives("train").tolist() == [2, 1, 0]
    assert mine.positives("test").tolist() == [0, 0, 1]


def test_positives_of_multiclass_are_proteins_per_class() -> None:
    assert task("multiclass", "abcd", train=[2, 0, 2]).positives("train").tolist() == [1, 0, 2, 0]


def test_positives_of_residues_are_those_that_are_scored() -> None:
    mine = task("residue", "HEC", train=[[0, 2, NOT_SCORED], [2, NOT_SCORED, NOT_SCORED]])
    assert mine.positives("train").tolist() == [1, 0, 2]


def test_classes_that_train_lacks_are_named() -> None:
    mine = task("multiclass", "abcd", train=[2, 0, 2], test=[1, 1])
    assert mine.without_positive() == ("b", "d")
    assert mine.without_positive("test") == ("a", "c", "d")


@pytest.mark.parametrize("kind", ["multilabel", "multiclass", "residue"])
def test_every_kind_has_a_main_metric(kind: Kind) -> None:
    assert METRICS[kind][0] == {"multilabel": "f1_max"}.get(kind, "accuracy")


def test_the_digest_does_not_depend_on_the_order() -> None:
    one = task("multiclass", "ab", train=[0, 1])
    members = one.splits["train"]
    other = Task("other", "multiclass", ("a", "b"), {"train": (members[1], members[0])}, ())
    assert other.digest == one.digest


@pytest.mark.parametrize(
    "other",
    [
        task("multiclass", "ab", train=[0, 0]),
        task("multiclass", "ac", train=[0, 1]),
        task("multiclass", "ab", valid=[0, 1]),
        task("multiclass", "ab", train=[0]),
    ],
)
def test_the_digest_depends_on_labels_classes_and_splits(other: Task) -> None:
    assert other.digest != task("multiclass", "ab", train=[0, 1]).digest


def test_all_splits_but_train_and_the_subsets_of_test_are_scored() -> None:
    mine = replace(
        task("multiclass", "ab", train=[0], valid=[0, 1], test=[0, 1, 1], hard=[1]),
        subsets={"identity_30": frozenset({"test_2", "test_0"}), "identity_95": frozenset()},
    )
    assert [(part.name, part.split, list(part.places)) for part in mine.parts] == [
        ("valid", "valid", [0, 1]),
        ("test", "test", [0, 1, 2]),
        ("hard", "hard", [0]),
        ("test_identity_30", "test", [0, 2]),
    ]
