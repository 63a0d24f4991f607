from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmdepth.proteins.batches import token_budget_batches

LENGTHS = st.lists(st.integers(min_value=1, max_value=80), max_size=60)
BUDGETS = st.integers(min_value=1, max_value=300)
EXTRAS = st.integers(min_value=0, max_value=3)


def tokens_of(batch: list[int], lengths: list[int], extra: int) -> int:
    return len(batch) * (max(lengths[index] for index in batch) + extra)


def test_no_sequence_makes_no_batch() -> None:
    assert token_budget_batches([], budget=100) == []


def test_sequences_of_like_length_share_a_batch() -> None:
    assert token_budget_batches([10, 98, 11, 97, 12], budget=200) == [[1, 3], [4, 2, 0]]


def test_special_tokens_and_padding_count_towards_the_budget() -> None:
    assert token_budget_batches([30, 30], budget=64, extra=2) == [[0, 1]]
    assert token_budget_batches([30, 30], budget=63, extra=2) == [[0], [1]]
    assert token_budget_batches([30, 1], budget=63, extra=2) == [[0], [1]]


def test_a_sequence_above_the_budget_has_a_batch_of_its_own() -> None:
    assert token_budget_batches([5, 500, 5], budget=20) == [[1], [0, 2]]


def test_equal_lengths_keep_their_order() -> None:
    assert token_budget_batches([7, 7, 7, 7], budget=18) == [[0, 1], [2, 3]]


@pytest.mark.parametrize("budget", [1, 33, 10_000])
def test_the_longest_sequence_comes_first(budget: int) -> None:
    assert token_budget_batches([3, 9, 4, 30, 8], budget)[0][0] == 3


@given(LENGTHS, BUDGETS, EXTRAS)
@settings(deadline=None)
def test_every_sequence_is_in_exactly_one_batch(lengths: list[int], budget: int, extra: int) -> None:
    batches = token_budget_batches(lengths, budget, extra)
    assert all(batches)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))


@given(LENGTHS, BUDGETS, EXTRAS)
@settings(deadline=None)
def test_no_shared_batch_exceeds_the_budget(lengths: list[int], budget: int, extra: int) -> None:
    for batch in token_budget_batches(lengths, budget, extra):
        assert len(batch) == 1 or tokens_of(batch, lengths, extra) <= budget


@given(LENGTHS, BUDGETS, EXTRAS)
@settings(deadline=None)
def test_lengths_never_grow_from_one_sequence_to_the_next(lengths: list[int], budget: int, extra: int) -> None:
    order = [lengths[index] for batch in token_budget_batches(lengths, budget, extra) for index in batch]
    assert order == sorted(lengths, reverse=True)


@given(LENGTHS, BUDGETS, EXTRAS)
@settings(deadline=None)
def test_a_batch_is_closed_only_when_it_is_full(lengths: list[int], budget: int, extra: int) -> None:
    batches = token_budget_batches(lengths, budget, extra)
    for batch, following in pairwise(batches):
        assert tokens_of([*batch, following[0]], lengths, extra) > budget
