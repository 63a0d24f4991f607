import numpy as np
import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.tasks.raw import Entry, RawTask, entries_of, tidied
from plmdepth.proteins.tasks.task import NOT_SCORED, Kind
from tests.proteins.files import one_line


def entry(name: str, text: str, label: object = 0) -> Entry:
    return Entry(name, text, np.array(label))


def raw(kind: Kind = "multiclass", **splits: list[Entry]) -> RawTask:
    entries = {split: tuple(members) for split, members in splits.items()}
    return RawTask(kind, ("a", "b"), {"train": (), "valid": (), "test": ()} | entries, dropped={"train: before": 3})


def ids(task: RawTask) -> dict[str, list[str]]:
    return {split: [entry.id for entry in entries] for split, entries in task.entries.items()}


def test_a_test_protein_is_kept_out_of_train_and_valid() -> None:
    tidy = tidied(
        raw(
            train=[entry("a", "MKTV"), entry("b", "ACDE"), entry("c", "GGG")],
            valid=[entry("d", "ggg"), entry("e", "MK TV*")],
            test=[entry("f", "MKTV")],
            ts115=[entry("g", "ACDE")],
        )
    )
    assert ids(tidy) == {"train": [], "valid": ["d"], "test": ["f"], "ts115": ["g"]}
    reason = "exact copy of a protein of another split"
    assert tidy.dropped == {f"train: {reason}": 3, f"valid: {reason}": 1, "train: before": 3}


def test_copies_within_a_split_and_between_tests_are_kept() -> None:
    splits = {"train": [entry("a", "MK"), entry("b", "MK")], "test": [entry("c", "AC")], "hard": [entry("d", "AC")]}
    assert ids(tidied(raw(**splits))) == {"train": ["a", "b"], "valid": [], "test": ["c"], "hard": ["d"]}


def test_a_protein_without_a_scored_residue_is_left_out_and_counted() -> None:
    tidy = tidied(raw("residue", test=[entry("a", "MK", [NOT_SCORED, 0]), entry("b", "AC", [NOT_SCORED, NOT_SCORED])]))
    assert ids(tidy)["test"] == ["a"]
    assert tidy.dropped["test: no residue is scored"] == 1


def test_a_protein_that_is_not_scored_does_not_take_its_copy_out_of_train() -> None:
    tidy = tidied(raw("residue", train=[entry("a", "MK", [0, 0])], test=[entry("b", "MK", [NOT_SCORED, NOT_SCORED])]))
    assert ids(tidy)["train"] == ["a"]


def test_a_further_test_with_nothing_left_is_listed_as_absent() -> None:
    tidy = tidied(raw(test=[entry("a", "MK")], set_hard=[]))
    assert ids(tidy) == {"train": [], "valid": [], "test": ["a"]}
    assert set(tidy.absent) == {"set_hard"}


def test_train_valid_and_test_come_first() -> None:
    tidy = tidied(RawTask("multiclass", ("a",), {s: (entry(s, "MK" + s),) for s in ("hard", "test", "train", "valid")}))
    assert list(tidy.entries) == ["train", "valid", "test", "hard"]


def test_a_split_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(InputError) as caught:
        entries_of(raw(), "tset", "mine")
    assert one_line(caught) == "dataset.split=tset: there is no such split; mine has train, valid, test"


def test_a_split_that_is_absent_is_refused_with_the_reason() -> None:
    with pytest.raises(InputError) as caught:
        entries_of(tidied(raw(set_hard=[])), "set_hard", "mine")
    assert "dataset.split=set_hard is not there (none of its proteins" in one_line(caught)
