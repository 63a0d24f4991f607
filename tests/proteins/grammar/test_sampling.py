from collections import Counter

import numpy as np
import pytest

from plmdepth.proteins.grammar.alphabet import PARTNERS
from plmdepth.proteins.grammar.families import SEPARATIONS, Family, draw_families, motif_letters
from plmdepth.proteins.grammar.sampling import COUPLING_FIDELITY, AnnotatedProtein, sample_protein, sample_proteins
from plmdepth.proteins.protein import CANONICAL

FAMILIES: dict[str, Family] = {family.name: family for family in draw_families(0)}
N_SIGNAL = {"cytoplasm": 0, "secreted": 15, "mitochondrion": 18, "nucleus": 8}


@pytest.fixture(scope="module")
def proteins() -> list[AnnotatedProtein]:
    return list(sample_proteins(0, "test", 600))


def linker_length(protein: AnnotatedProtein) -> int:
    return len(protein) - 1 - N_SIGNAL[protein.compartment] - len(FAMILIES[protein.family].structure)


def residue_of_column(protein: AnnotatedProtein, column: int) -> int:
    shift = linker_length(protein) if column >= FAMILIES[protein.family].linker_column else 0
    return 1 + N_SIGNAL[protein.compartment] + column + shift


def assert_same(one: AnnotatedProtein, two: AnnotatedProtein) -> None:
    for name in ("id", "sequence", "family", "functions", "compartment", "secondary_structure", "contacts"):
        assert getattr(one, name) == getattr(two, name)
    assert np.array_equal(one.profile, two.profile)


@pytest.mark.parametrize(("start", "count"), [(0, 6), (5, 1), (3, 10)])
def test_a_protein_is_the_same_whatever_else_is_asked_for(start: int, count: int) -> None:
    asked = list(sample_proteins(0, "test", count, start))
    assert [protein.id for protein in asked] == [f"test_{number:06d}" for number in range(start, start + count)]
    assert_same(asked[5 - start], sample_protein(0, "test", 5))


def test_splits_and_seeds_share_no_protein() -> None:
    chosen = [(0, "train"), (0, "valid"), (0, "test"), (1, "train")]
    sequences = [protein.sequence for seed, split in chosen for protein in sample_proteins(seed, split, 200)]
    assert len(set(sequences)) == 800


def test_proteins_are_written_in_the_twenty_amino_acids_from_a_start(proteins: list[AnnotatedProtein]) -> None:
    assert set("".join(protein.sequence for protein in proteins)) == set(CANONICAL)
    assert {protein.sequence[0] for protein in proteins} == {"M"}


def test_every_residue_has_its_labels(proteins: list[AnnotatedProtein]) -> None:
    for protein in proteins:
        assert len(protein.secondary_structure) == len(protein)
        assert protein.profile.shape == (len(protein), 20)
        assert protein.profile.sum(axis=1) == pytest.approx(1)


def test_no_residue_is_impossible_in_its_column(proteins: list[AnnotatedProtein]) -> None:
    for protein in proteins:
        assert all(protein.profile[i, CANONICAL.index(letter)] > 0 for i, letter in enumerate(protein.sequence))


def test_secondary_structure_is_that_of_the_family_around_coils(proteins: list[AnnotatedProtein]) -> None:
    for protein in proteins:
        head, linker = 1 + N_SIGNAL[protein.compartment], linker_length(protein)
        family = FAMILIES[protein.family]
        before, after = family.structure[: family.linker_column], family.structure[family.linker_column :]
        assert protein.secondary_structure == "C" * head + before + "C" * linker + after


def test_every_linker_length_from_none_to_eight_occurs(proteins: list[AnnotatedProtein]) -> None:
    assert {linker_length(protein) for protein in proteins} == set(range(9))


def test_a_linker_is_glycine_serine_and_threonine(proteins: list[AnnotatedProtein]) -> None:
    letters: Counter[str] = Counter()
    for protein in proteins:
        start = 1 + N_SIGNAL[protein.compartment] + FAMILIES[protein.family].linker_column
        letters.update(protein.sequence[start : start + linker_length(protein)])
    assert set(letters) == set("GST")
    assert letters["G"] / letters.total() == pytest.approx(4 / 7, abs=0.05)


def test_functions_are_those_of_the_family(proteins: list[AnnotatedProtein]) -> None:
    for protein in proteins:
        assert protein.functions == tuple(sorted(f"motif_{number}" for number, _ in FAMILIES[protein.family].motifs))


def test_motif_letters_are_mostly_present(proteins: list[AnnotatedProtein]) -> None:
    hits = [
        protein.sequence[residue_of_column(protein, start + offset)] == letter
        for protein in proteins
        for number, start in FAMILIES[protein.family].motifs
        for offset, letter in enumerate(motif_letters(0, number))
    ]
    assert len(hits) > 7000
    assert np.mean(hits) == pytest.approx(0.95 + 0.05 / 20, abs=0.01)


def test_contacts_lie_at_the_separation_of_the_family(proteins: list[AnnotatedProtein]) -> None:
    for protein in proteins:
        number = int(protein.family.removeprefix("family_"))
        separations = {second - first for first, second in protein.contacts}
        assert separations == {SEPARATIONS[number % len(SEPARATIONS)]}


def test_contacts_are_the_coupled_columns_of_the_family(proteins: list[AnnotatedProtein]) -> None:
    for protein in proteins:
        columns = FAMILIES[protein.family].couplings
        expected = [(residue_of_column(protein, i), residue_of_column(protein, j)) for i, j in columns]
        assert list(protein.contacts) == expected


def test_partners_are_complementary_as_often_as_the_fidelity_says(proteins: list[AnnotatedProtein]) -> None:
    pairs = [(protein.sequence[i], protein.sequence[j]) for protein in proteins for i, j in protein.contacts]
    complementary = np.mean([PARTNERS[first] == second for first, second in pairs])
    expected = COUPLING_FIDELITY + (1 - COUPLING_FIDELITY) / 8  # an uncoupled residue is the partner by chance
    assert complementary == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / len(pairs)))


@pytest.mark.parametrize("end", [0, 1])
def test_both_ends_of_a_contact_use_all_eight_letters_alike(proteins: list[AnnotatedProtein], end: int) -> None:
    counts = Counter(protein.sequence[pair[end]] for protein in proteins for pair in protein.contacts)
    assert set(counts) == set("DREKFGWA")
    expected = counts.total() / 8
    assert max(abs(count - expected) for count in counts.values()) < 5 * np.sqrt(expected * 7 / 8)


def test_residues_follow_the_probabilities_that_are_handed_out(proteins: list[AnnotatedProtein]) -> None:
    surprise, entropy = [], []
    for protein in proteins:
        letters = [CANONICAL.index(letter) for letter in protein.sequence]
        surprise.append(-np.log(protein.profile[np.arange(len(letters)), letters]).mean())
        entropy.append(-(protein.profile * np.log(np.where(protein.profile > 0, protein.profile, 1))).sum(1).mean())
    error = np.std(np.subtract(surprise, entropy)) / np.sqrt(len(proteins))
    assert np.mean(surprise) == pytest.approx(np.mean(entropy), abs=4 * error)


def test_a_signal_is_spelled_by_its_columns(proteins: list[AnnotatedProtein]) -> None:
    spelled = {
        "cytoplasm": [],
        "secreted": ["KR", "K", *["LAVIF"] * 10, "A", "STN", "A"],
        "mitochondrion": ["L", *["R", "AL", "SL", "AS"] * 4, "RY"],
        "nucleus": ["P", "K", "K", "K", "R", "K", "V", "ED"],
    }
    for protein in proteins:
        signal = protein.sequence[1 : 1 + N_SIGNAL[protein.compartment]]
        columns = spelled[protein.compartment]
        assert all(letter in column for letter, column in zip(signal, columns, strict=True))


def test_families_and_compartments_are_drawn_evenly(proteins: list[AnnotatedProtein]) -> None:
    families = Counter(protein.family for protein in proteins)
    compartments = Counter(protein.compartment for protein in proteins)
    assert set(families) == set(FAMILIES)
    assert max(abs(count - 75) for count in families.values()) < 5 * np.sqrt(600 / 8 * 7 / 8)
    assert set(compartments) == set(N_SIGNAL)
    assert max(abs(count - 150) for count in compartments.values()) < 5 * np.sqrt(600 / 4 * 3 / 4)
