from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmdepth.errors import InputError
from plmdepth.proteins.protein import CANONICAL, Protein
from plmdepth.proteins.selection import Rules
from plmdepth.proteins.tasks.raw import Entry, RawTask
from plmdepth.proteins.tasks.selected import task_of
from plmdepth.proteins.tasks.task import Kind, Task
from tests.proteins.files import one_line

TWENTY = [(f"p{number}", CANONICAL[number:] + CANONICAL[:number], number) for number in range(20)]


def selected(kind: Kind, entries: list[tuple[str, str, Any]], subsets: dict[str, frozenset[str]], **rules: Any) -> Task:
    members = tuple(Entry(name, text, np.array(label)) for name, text, label in entries)
    other = (Entry("other", "MKTV", np.zeros(4, dtype=np.int64) if kind == "residue" else np.array(0)),)
    raw = RawTask(kind, ("a", "b"), {"train": other, "test": members}, subsets, {"train: earlier": 2}, {"hard": "none"})
    return task_of("mine", raw, Rules(**{"max_length": 50, **rules}))


def labels(task: Task) -> dict[str, Any]:
    return {each.protein.id: each.label.tolist() for each in task.splits["test"]}


def test_proteins_keep_their_labels() -> None:
    task = selected("multiclass", [("a", "MKTV", 1), ("b", "mk*", 0)], {})
    assert [each.protein for each in task.splits["test"]] == [Protein("a", "MKTV"), Protein("b", "MK")]
    assert labels(task) == {"a": 1, "b": 0}
    assert task.changes == {"test: closing stop dropped": 1, "test: lower case raised": 2}
    assert (task.name, task.kind, task.classes, task.absent) == ("mine", "multiclass", ("a", "b"), {"hard": "none"})


def test_residue_labels_follow_truncation() -> None:
    task = selected("residue", [("a", "MKTVAC", [0, 1, 2, 3, 4, 5])], {}, max_length=4, length_policy="truncate")
    assert labels(task) == {"a": [0, 1, 2, 3]}
    assert task.changes["test: sequences truncated"] == 1


def test_residue_labels_follow_formatting_and_the_closing_stop() -> None:
    task = selected("residue", [("a", "MK TV*", [0, 1, -1, 2, 3, -1])], {})
    assert labels(task) == {"a": [0, 1, 2, 3]}


def test_labels_of_other_kinds_are_not_cut() -> None:
    task = selected("multilabel", [("a", "MKTV", [True, False])], {}, max_length=1, length_policy="truncate")
    assert labels(task) == {"a": [True, False]}


def test_what_the_rules_leave_out_is_counted_by_split_and_reason() -> None:
    entries = [("a", "MKTVA", 0), ("b", "M-K", 0), ("c", "MK", 1), ("c", "AC", 0)]
    task = selected("multiclass", entries, {}, max_length=4, length_policy="skip")
    assert labels(task) == {"c": 1}
    assert task.dropped == {
        "train: earlier": 2,
        "test: longer than 4 residues": 1,
        "test: the gap '-' is no residue": 1,
        "test: duplicate id": 1,
    }


def test_of_two_records_with_one_id_the_label_is_that_of_the_one_that_is_used() -> None:
    assert labels(selected("multiclass", [("a", "M-K", 0), ("a", "ACDE", 1)], {})) == {"a": 1}


def test_subsets_hold_what_is_left_of_the_test_proteins() -> None:
    subsets = {"identity_30": frozenset({"a", "b", "elsewhere"}), "identity_95": frozenset({"b"})}
    task = selected("multiclass", [("a", "MK", 0), ("b", "M-K", 0)], subsets)
    assert task.subsets == {"identity_30": {"a"}, "identity_95": frozenset()}


def test_a_limit_is_seeded_and_keeps_labels() -> None:
    chosen = [selected("multiclass", TWENTY, {}, limit=5, seed=seed) for seed in range(6)]
    assert len({frozenset(labels(task)) for task in chosen}) == 6
    assert all(labels(task) == {name: label for name, _, label in TWENTY if name in labels(task)} for task in chosen)
    assert all(len(task.splits["test"]) == 5 and len(task.splits["train"]) == 1 for task in chosen)


def test_a_split_with_nothing_left_is_refused_by_name() -> None:
    with pytest.raises(InputError) as caught:
        selected("multiclass", [("a", "M-K", 0)], {})
    assert one_line(caught).startswith("dataset=mine, split test: no protein is left")


def test_a_record_that_stops_the_run_is_refused_with_its_split() -> None:
    with pytest.raises(InputError) as caught:
        selected("multiclass", [("a", "MKTVA", 0)], {}, max_length=4)
    assert "split test: a has 5 residues" in one_line(caught)


@given(st.text(alphabet="ACDEac *\n", min_size=1, max_size=12), st.integers(1, 8))
@settings(deadline=None)
def test_every_residue_keeps_its_own_label(text: str, max_length: int) -> None:
    label = [ord(letter.upper()) for letter in text]
    entries = [("a", text, label), ("good", "MK", [1, 2])]
    task = selected("residue", entries, {}, max_length=max_length, length_policy="truncate")
    for each in task.splits["test"]:
        if each.protein.id == "a":
            assert "".join(map(chr, each.label)) == each.protein.sequence
