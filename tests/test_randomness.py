import hashlib

import numpy as np
import pytest

from plmdepth.randomness import keyed_generator


def first_numbers(seed: int, purpose: str, subject: str) -> list[float]:
    return [float(number) for number in keyed_generator(seed, purpose, subject).random(4)]


def test_the_same_key_gives_the_same_numbers() -> None:
    assert first_numbers(3, "targets", "MKTV") == first_numbers(3, "targets", "MKTV")


@pytest.mark.parametrize(
    "other", [(4, "targets", "MKTV"), (3, "order", "MKTV"), (3, "targets", "MKTA"), (3, "targets", "")]
)
def test_every_part_of_the_key_matters(other: tuple[int, str, str]) -> None:
    assert set(first_numbers(*other)).isdisjoint(first_numbers(3, "targets", "MKTV"))


def test_draws_from_one_generator_leave_another_alone() -> None:
    first = keyed_generator(0, "targets", "A")
    first.random(100)
    assert first_numbers(0, "targets", "C") == first_numbers(0, "targets", "C")
    assert keyed_generator(0, "targets", "A").random() != first.random()


def test_the_global_random_state_is_neither_read_nor_changed() -> None:
    np.random.seed(1)  # noqa: NPY002
    undisturbed = np.random.random()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    numbers = first_numbers(0, "targets", "A")
    assert np.random.random() == undisturbed  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert first_numbers(0, "targets", "A") == numbers


def test_the_numbers_are_those_of_every_earlier_record() -> None:
    # Whoever changes these three numbers changes every result that was ever drawn.
    expected = [0.01570676, 0.09033219, 0.83933784]
    assert keyed_generator(0, "targets", "MKT").random(3) == pytest.approx(expected, abs=5e-9)


def test_the_key_is_the_hash_of_seed_purpose_and_subject() -> None:
    digest = hashlib.sha256(b"7\x00order\x00MK").digest()
    key = [int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")]
    reference = np.random.Generator(np.random.Philox(key=np.array(key, dtype=np.uint64)))
    assert np.array_equal(keyed_generator(7, "order", "MK").random(10), reference.random(10))


def test_first_numbers_of_many_subjects_are_uniform() -> None:
    numbers = np.array([keyed_generator(0, "targets", str(k)).random() for k in range(2000)])
    counts, _ = np.histogram(numbers, bins=10, range=(0, 1))
    assert np.abs(counts - 200).max() < 5 * np.sqrt(2000 * 0.1 * 0.9)
