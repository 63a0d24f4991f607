"""What is alike stays in one split, equal sequences always do, and the leakage is what a naive search finds."""

from collections import defaultdict
from itertools import product

import numpy as np
import pandas as pd
import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.protein import CANONICAL
from plmdepth.proteins.tables.identity import nearest_aligned, nearest_identity
from plmdepth.proteins.tables.splits import given_splits, leakage, made_splits

SHARES = {"train": 0.7, "valid": 0.15, "test": 0.15}
RANDOM = np.random.default_rng(0)


def _sequence(length: int = 120) -> str:
    return "".join(RANDOM.choice(list(CANONICAL), length))


def _changed(sequence: str, n: int) -> str:
    letters = list(sequence)
    for place in RANDOM.choice(len(letters), n, replace=False):
        letters[place] = RANDOM.choice([letter for letter in CANONICAL if letter != letters[place]])
    return "".join(letters)


FAMILIES = [_sequence() for _ in range(30)]
ROWS = {1 + 10 * family + k: _changed(FAMILIES[family], 10) for family, k in product(range(30), range(10))}


def _shares_of(splits: dict[int, str]) -> dict[str, float]:
    return {name: list(splits.values()).count(name) / len(splits) for name in SHARES}


@pytest.mark.parametrize("by", ["identity", "random", "cluster"])
def test_splits_have_their_shares_and_are_the_same_again(by: str) -> None:
    groups = {row: (row - 1) // 10 for row in ROWS}
    first, again, other = (made_splits(ROWS, by, groups, SHARES, 0.3, seed) for seed in (0, 0, 1))
    assert first == again
    assert first.of != other.of
    assert _shares_of(dict(first.of)) == pytest.approx(SHARES, abs=0.05)


@pytest.mark.parametrize("by", ["identity", "cluster"])
def test_what_is_alike_is_in_one_split(by: str) -> None:
    found = made_splits(ROWS, by, {row: (row - 1) // 10 for row in ROWS}, SHARES, 0.3, 0)
    places = defaultdict(set)
    for row, split in found.of.items():
        places[(row - 1) // 10].add(split)
    assert all(len(splits) == 1 for splits in places.values())


@pytest.mark.parametrize("by", ["random", "cluster"])
def test_equal_sequences_never_cross_a_split(by: str) -> None:
    rows = ROWS | {1000 + row: sequence for row, sequence in ROWS.items()}
    found = made_splits(rows, by, {row: row for row in rows}, SHARES, 0.3, 0).of
    assert all(found[row] == found[1000 + row] for row in ROWS)


def test_mutants_are_divided_by_position() -> None:
    parent = FAMILIES[0]
    rows = {k: parent[:k] + "W" + parent[k + 1 :] for k in range(1, 100) if parent[k] != "W"}
    double = {200 + k: _changed(parent, 2) for k in range(40)}
    found = made_splits(rows | double, "auto", None, SHARES, 0.3, 0)
    assert found.how == "mutated positions"
    where = {k: found.of[k] for k in rows}
    for row in double:
        places = {where.get(k) for k in range(len(parent)) if double[row][k] != parent[k]} - {None}
        assert row not in found.of or places <= {found.of[row]}
    assert found.dropped["rows with positions of several splits"] > 0


def test_splits_that_cannot_be_are_refused() -> None:
    parent = FAMILIES[0]
    with pytest.raises(InputError, match=r"mutants of one parent"):
        made_splits({k: _changed(parent, 1) for k in range(50)}, "identity", None, SHARES, 0.3, 0)
    with pytest.raises(InputError, match=r"position is for mutants"):
        made_splits(ROWS, "position", None, SHARES, 0.3, 0)
    with pytest.raises(InputError, match=r"needs a column cluster"):
        made_splits(ROWS, "cluster", None, SHARES, 0.3, 0)
    with pytest.raises(InputError, match=r"300 of 300 rows are in one cluster"):
        made_splits(ROWS, "cluster", dict.fromkeys(ROWS, 1), SHARES, 0.3, 0)


@pytest.mark.parametrize(
    ("value", "split"),
    [
        ("train", "train"),
        ("Train", "train"),
        ("VAL", "valid"),
        ("valid", "valid"),
        ("validation", "valid"),
        ("TEST", "test"),
    ],
)
def test_splits_are_read_in_any_case(value: str, split: str) -> None:
    assert given_splits(pd.DataFrame({"set": [value]}, index=[1]), "set", None).of == {1: split}


@pytest.mark.parametrize("value", ["TRUE", "True", "true", "1", "yes", True])
def test_validation_is_never_moved_into_train(value: object) -> None:
    frame = pd.DataFrame({"set": ["train", "train"], "validation": [value, "False"]}, index=[1, 2], dtype=object)
    assert given_splits(frame, "set", "validation").of == {1: "valid", 2: "train"}


@pytest.mark.parametrize(("column", "value"), [("set", "holdout"), ("validation", "perhaps")])
def test_other_words_are_refused_with_their_row(column: str, value: str) -> None:
    frame = pd.DataFrame({"set": ["train", "train"], "validation": ["false", "false"]}, index=[1, 2])
    frame.loc[2, column] = value
    with pytest.raises(InputError, match=f"row 2: .*{value}"):
        given_splits(frame, "set", "validation")


def test_leakage_is_the_share_with_a_neighbour() -> None:
    train = FAMILIES[:20]
    test = [_changed(train[0], 6), _changed(train[1], 48), _sequence(), train[2]]
    assert leakage(train, test) == {"0.3": 0.75, "0.5": 0.75, "0.9": 0.5}
    naive = [max(np.mean([x == y for x, y in zip(a, b, strict=True)]) for b in train) for a in test]
    np.testing.assert_allclose(nearest_aligned(test, train), naive, atol=1e-6)
    np.testing.assert_allclose(nearest_identity(test, train)[[0, 1, 3]], np.array(naive)[[0, 1, 3]], atol=0.03)
