from itertools import groupby

import numpy as np
import pytest

from plmdepth.proteins.grammar.alphabet import PARTNERS, SUBSTITUTION_CLASSES, favoured_letters, letter_distribution
from plmdepth.proteins.grammar.families import SEPARATIONS, Family, draw_families, motif_letters
from plmdepth.proteins.protein import CANONICAL

FAMILIES = draw_families(0)
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def motif_columns(family: Family) -> list[int]:
    return [column for _, start in family.motifs for column in range(start, start + 6)]


def coupled_columns(family: Family) -> list[int]:
    return [column for pair in family.couplings for column in pair]


def test_a_grammar_has_eight_families() -> None:
    assert [family.name for family in FAMILIES] == [f"family_{number:02d}" for number in range(8)]


def test_families_are_drawn_from_the_seed_alone() -> None:
    first = draw_families(3)
    draw_families.cache_clear()
    again = draw_families(3)
    assert [family.structure for family in first] == [family.structure for family in again]
    assert all(np.array_equal(one.profile, two.profile) for one, two in zip(first, again, strict=True))
    assert [family.couplings for family in first] == [family.couplings for family in again]


def test_another_seed_draws_other_families() -> None:
    assert {family.structure for family in FAMILIES}.isdisjoint(family.structure for family in draw_families(1))
    assert motif_letters(0, 0) != motif_letters(1, 0)


def test_families_of_one_grammar_differ() -> None:
    assert len({family.structure for family in FAMILIES}) == 8
    assert len({family.couplings for family in FAMILIES}) == 8


@each_family
def test_every_column_is_a_distribution_over_the_twenty_amino_acids(family: Family) -> None:
    assert family.profile.shape == (len(family.structure), 20)
    assert family.profile.min() >= 0
    assert family.profile.sum(axis=1) == pytest.approx(1)


@each_family
def test_the_structure_is_a_chain_of_elements_of_allowed_lengths(family: Family) -> None:
    elements = [(element, len(list(run))) for element, run in groupby(family.structure)]
    assert "".join(element for element, _ in elements) == "HCECECHCEC"
    ranges = {"H": range(10, 16), "E": range(5, 9), "C": range(4, 9)}
    assert all(length in ranges[element] for element, length in elements)


@each_family
def test_a_family_carries_two_or_three_different_motifs_that_do_not_overlap(family: Family) -> None:
    numbers = [number for number, _ in family.motifs]
    assert len(set(numbers)) == len(numbers)
    assert len(numbers) in {2, 3}
    assert set(numbers) <= set(range(8))
    assert len(set(motif_columns(family))) == 6 * len(numbers)
    assert max(motif_columns(family)) < len(family.structure)


@each_family
def test_a_motif_column_conserves_its_letter(family: Family) -> None:
    for number, start in family.motifs:
        for offset, letter in enumerate(motif_letters(0, number)):
            assert family.profile[start + offset, CANONICAL.index(letter)] == pytest.approx(0.95 + 0.05 / 20)


@each_family
def test_functions_name_the_motifs_in_order(family: Family) -> None:
    assert family.functions == tuple(sorted(f"motif_{number}" for number, _ in family.motifs))


def test_motifs_are_six_letters_each_and_differ() -> None:
    motifs = {motif_letters(0, number) for number in range(8)}
    assert len(motifs) == 8
    assert {len(motif) for motif in motifs} == {6}


@each_family
def test_coupled_columns_lie_at_one_separation_in_a_family(family: Family) -> None:
    separations = {second - first for first, second in family.couplings}
    assert separations == {SEPARATIONS[int(family.name.removeprefix("family_")) % len(SEPARATIONS)]}


def test_no_coupling_is_local() -> None:
    assert min(SEPARATIONS) >= 20


@each_family
def test_a_family_of_the_bundled_grammar_has_many_couplings(family: Family) -> None:
    assert len(family.couplings) >= 8


@each_family
def test_couplings_share_no_column_with_one_another_or_with_a_motif(family: Family) -> None:
    columns = coupled_columns(family)
    assert len(set(columns)) == len(columns)
    assert set(columns).isdisjoint(motif_columns(family))
    assert min(columns) >= 0
    assert max(columns) < len(family.structure)


@each_family
def test_couplings_lie_behind_the_linker_so_that_its_length_never_moves_them_apart(family: Family) -> None:
    assert min(coupled_columns(family)) >= family.linker_column


@each_family
def test_a_coupled_column_is_uniform_over_the_letters_that_have_a_partner(family: Family) -> None:
    expected = [0.125 if letter in "DREKFGWA" else 0.0 for letter in CANONICAL]
    for column in coupled_columns(family):
        assert family.profile[column] == pytest.approx(expected)


@each_family
def test_any_other_column_prefers_one_letter_by_half_or_more(family: Family) -> None:
    ordinary = set(range(len(family.structure))) - set(coupled_columns(family)) - set(motif_columns(family))
    assert len(ordinary) > 20
    assert min(family.profile[column].max() for column in ordinary) > 0.5


@each_family
def test_the_linker_lies_in_or_just_before_the_first_coil_and_splits_no_motif(family: Family) -> None:
    start = family.structure.index("C")
    coil = range(start, start + len(family.structure[start:].split("E")[0]))
    starts = [first for _, first in family.motifs]
    assert family.linker_column in coil or family.linker_column in starts
    assert not any(first < family.linker_column < first + 6 for first in starts)
    assert all(family.linker_column <= first for first, _ in family.couplings)


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_every_grammar_has_couplings_in_every_family(seed: int) -> None:
    assert min(len(family.couplings) for family in draw_families(seed)) >= 1


def test_partners_are_mutual() -> None:
    assert dict(PARTNERS) == {"D": "R", "R": "D", "E": "K", "K": "E", "F": "G", "G": "F", "W": "A", "A": "W"}


def test_every_amino_acid_has_exactly_one_substitution_class() -> None:
    assert sorted("".join(SUBSTITUTION_CLASSES)) == list(CANONICAL)


def test_a_letter_distribution_counts_repeats() -> None:
    distribution = letter_distribution("GGGS")
    assert distribution[CANONICAL.index("G")] == 0.75
    assert distribution[CANONICAL.index("S")] == 0.25
    assert distribution.sum() == 1


@pytest.mark.parametrize(("structure", "buried"), [("H", "BBeeBBeeBB"), ("E", "BeBeBe"), ("C", "eeeBeeeB")])
def test_buried_residues_follow_the_period_of_the_structure(structure: str, buried: str) -> None:
    letters = {"H": ("LAIMVF", "EKRQAD"), "E": ("VIFYLW", "TSQRKT"), "C": ("PGLAVY", "GNDSPT")}[structure]
    expected = [letters[0] if face == "B" else letters[1] for face in buried]
    assert [favoured_letters(structure, offset) for offset in range(len(buried))] == expected
