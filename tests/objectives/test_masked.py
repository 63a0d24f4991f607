import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plmdepth.errors import InputError
from plmdepth.language_models.families.esm2 import SPELLING
from plmdepth.objectives.masked import Masked
from plmdepth.proteins.protein import CANONICAL, Protein

CLS, PAD, EOS, MASK = 0, 1, 2, 32
SEQUENCES = st.text(alphabet=CANONICAL + "XUBZOJ", min_size=1, max_size=60)
FRACTIONS = st.floats(min_value=0.01, max_value=1)
PROTEINS = [Protein("a", "MKTVACDEFGHIKLMNPQRS"), Protein("b", "ACXDE"), Protein("c", "GGGGGGGGGG"), Protein("d", "WY")]


@given(SEQUENCES, FRACTIONS, st.integers(min_value=0, max_value=9))
@settings(deadline=None)
def test_targets_are_ascending_positions_of_the_twenty_amino_acids(sequence: str, fraction: float, seed: int) -> None:
    targets = Masked(fraction).targets(sequence, seed)
    assert targets == sorted(set(targets))
    assert all(sequence[position] in "ACDEFGHIKLMNPQRSTVWY" for position in targets)


@given(SEQUENCES, FRACTIONS)
@settings(deadline=None)
def test_the_fraction_is_kept_to_the_nearest_residue_and_at_least_one(sequence: str, fraction: float) -> None:
    canonical = sum(letter not in "XUBZOJ" for letter in sequence)
    count = len(Masked(fraction).targets(sequence, seed=0))
    assert count >= min(1, canonical)
    assert abs(count - fraction * canonical) <= 0.5 or count == 1


@given(SEQUENCES, FRACTIONS, FRACTIONS)
@settings(deadline=None)
def test_targets_of_a_smaller_fraction_are_among_those_of_a_larger_one(sequence: str, one: float, two: float) -> None:
    smaller, larger = sorted((one, two))
    assert set(Masked(smaller).targets(sequence, 0)) <= set(Masked(larger).targets(sequence, 0))


@pytest.mark.parametrize(("length", "fraction", "count"), [(100, 0.15, 15), (20, 0.15, 3), (3, 0.15, 1), (7, 1.0, 7)])
def test_known_numbers_of_targets(length: int, fraction: float, count: int) -> None:
    assert len(Masked(fraction).targets("A" * length, seed=4)) == count


def test_every_position_is_a_target_equally_often() -> None:
    counts = np.zeros(20)
    for seed in range(1000):
        counts[Masked(0.15).targets(CANONICAL, seed)] += 1
    assert counts.sum() == 3000
    assert np.abs(counts - 150).max() < 5 * math.sqrt(1000 * 0.15 * 0.85)


def test_targets_depend_on_the_seed() -> None:
    assert len({tuple(Masked(0.3).targets(PROTEINS[0].sequence, seed)) for seed in range(10)}) == 10


def test_targets_do_not_depend_on_the_batch_or_the_id() -> None:
    together = Masked(0.3).present(PROTEINS, SPELLING, seed=5).targets
    reversed_batch = Masked(0.3).present(PROTEINS[::-1], SPELLING, seed=5).targets
    alone = tuple(
        Masked(0.3).present([Protein("other", protein.sequence)], SPELLING, seed=5).targets[0] for protein in PROTEINS
    )
    assert together == alone
    assert together == reversed_batch[::-1]


def test_exactly_the_targets_are_replaced_by_the_mask_token() -> None:
    example = Masked(0.4).present(PROTEINS, SPELLING, seed=1)
    plain = SPELLING.encode([protein.sequence for protein in PROTEINS])
    for row, targets in enumerate(example.targets):
        masked = {column for column, token in enumerate(example.tokens.ids[row].tolist()) if token == MASK}
        assert masked == {1 + position for position in targets}
    assert torch.equal(example.tokens.ids[~example.scored], plain.ids[~example.scored])
    assert torch.equal(example.tokens.attended, plain.attended)
    assert torch.equal(example.tokens.residues, plain.residues)


def test_a_target_is_predicted_from_its_own_row() -> None:
    example = Masked(0.4).present(PROTEINS, SPELLING, seed=1)
    for row, protein in enumerate(PROTEINS):
        rows = example.scored[row].nonzero().flatten().tolist()
        assert rows == [1 + position for position in example.targets[row]]
        predicted = example.labels[row, example.scored[row]].tolist()
        assert predicted == [SPELLING.letters[protein.sequence[position]] for position in example.targets[row]]


def test_context_is_every_residue_that_is_no_target() -> None:
    example = Masked(0.4).present(PROTEINS, SPELLING, seed=1)
    for row, protein in enumerate(PROTEINS):
        shown = set(range(len(protein))) - set(example.targets[row])
        assert example.context[row].nonzero().flatten().tolist() == sorted(1 + position for position in shown)


def test_hiding_everything_leaves_unknown_residues_and_special_tokens() -> None:
    example = Masked(1.0).present([Protein("a", "MXK"), Protein("b", "A")], SPELLING, seed=0)
    assert example.tokens.ids.tolist() == [[CLS, MASK, 24, MASK, EOS], [CLS, MASK, EOS, PAD, PAD]]


def test_a_protein_without_a_possible_target_has_none() -> None:
    example = Masked().present([Protein("a", "XXUB"), Protein("b", "MK")], SPELLING, seed=0)
    assert example.targets[0] == ()
    assert not example.scored[0].any()
    assert len(example.targets[1]) == 1


def test_every_protein_weighs_the_same() -> None:
    assert Masked().present(PROTEINS, SPELLING, seed=0).weights.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, float("nan"), float("inf")])
def test_a_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(InputError, match=r"objective\.mask_fraction must be above 0 and at most 1"):
        Masked(fraction)


def test_training_meets_the_same_fraction() -> None:
    assert Masked(0.15).for_training() == Masked(0.15)
