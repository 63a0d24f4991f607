from typing import Any

import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.demo import DemoDataset


def demo(**options: Any) -> DemoDataset:
    return DemoDataset(name="demo", **options)


def refusal(**options: Any) -> str:
    with pytest.raises(InputError) as caught:
        demo(**options).proteins(model_limit=1022, seed=0)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_by_default_there_are_two_hundred_test_proteins() -> None:
    proteins = demo().proteins(model_limit=1022, seed=0).proteins
    assert [protein.id for protein in proteins] == [f"test_{number:06d}" for number in range(200)]


def test_every_protein_is_clean_and_fits_the_smallest_models() -> None:
    chosen = demo(size=300).proteins(model_limit=126, seed=0)
    assert chosen.changes == {}
    assert chosen.skipped == ()


def test_a_larger_set_begins_with_the_smaller_one() -> None:
    assert list(demo(size=12).records())[:5] == list(demo(size=5).records())


def test_records_can_be_read_again() -> None:
    dataset = demo(size=3)
    assert list(dataset.records()) == list(dataset.records())


def test_splits_share_neither_ids_nor_sequences() -> None:
    records = [record for split in ("train", "valid", "test") for record in demo(split=split, size=150).records()]
    assert len({identifier for identifier, _ in records}) == 450
    assert len({sequence for _, sequence in records}) == 450


def test_another_grammar_seed_writes_other_proteins() -> None:
    ours, others = demo(size=20).records(), demo(size=20, grammar_seed=1).records()
    assert {sequence for _, sequence in ours}.isdisjoint(sequence for _, sequence in others)


def test_the_seed_of_the_run_does_not_change_what_is_written() -> None:
    assert demo(size=9).proteins(1022, seed=0) == demo(size=9).proteins(1022, seed=5)


def test_a_limit_takes_a_seeded_part_of_the_set() -> None:
    chosen = demo(size=30, limit=4).proteins(1022, seed=0)
    assert len(chosen.proteins) == 4
    assert chosen.digest != demo(size=30, limit=4).proteins(1022, seed=1).digest


def test_a_protein_above_the_limit_of_the_model_is_refused() -> None:
    with pytest.raises(InputError, match="the limit is 60"):
        demo().proteins(model_limit=60, seed=0)


def test_an_own_length_limit_takes_the_place_of_the_models() -> None:
    chosen = demo(size=10, max_length=40, length_policy="truncate").proteins(model_limit=1022, seed=0)
    assert [len(protein) for protein in chosen.proteins] == [40] * 10


def test_an_own_length_limit_above_that_of_the_model_is_refused() -> None:
    assert "max_length=2000" in refusal(max_length=2000)


@pytest.mark.parametrize("option", ["size", "limit", "max_length", "tokens_per_batch"])
@pytest.mark.parametrize("value", [0, -3])
def test_a_number_below_one_is_refused_by_name(option: str, value: int) -> None:
    assert refusal(**{option: value}) == f"dataset.{option} must be at least 1, got {value}"
