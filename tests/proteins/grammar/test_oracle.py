import math
from dataclasses import replace

import numpy as np
import pytest

from plmdepth.proteins.grammar.oracle import coupling_oracle, family_oracle, unigram_loss
from plmdepth.proteins.grammar.sampling import COUPLING_FIDELITY, AnnotatedProtein, sample_proteins
from plmdepth.proteins.protein import CANONICAL

PARTNER_LETTERS = "DREKFGWA"


def uniform_over(letters: str) -> np.ndarray:
    return np.array([letters.count(letter) / len(letters) for letter in CANONICAL])


def three_residues(sequence: str) -> AnnotatedProtein:
    """A protein whose first and third residue are in contact; the second is L three times in four."""
    profile = np.stack([uniform_over(PARTNER_LETTERS), uniform_over("LLLV"), uniform_over(PARTNER_LETTERS)])
    return AnnotatedProtein("hand", sequence, "family", (), "cytoplasm", "CCC", ((0, 2),), profile)


def all_visible(protein: AnnotatedProtein) -> np.ndarray:
    return ~np.eye(len(protein), dtype=bool)


@pytest.fixture(scope="module")
def proteins() -> list[AnnotatedProtein]:
    return list(sample_proteins(0, "valid", 300))


def test_the_family_oracle_pays_the_log_of_its_column() -> None:
    assert family_oracle(three_residues("DLR")) == pytest.approx([math.log(8), math.log(4 / 3), math.log(8)])
    assert family_oracle(three_residues("DVA")) == pytest.approx([math.log(8), math.log(4), math.log(8)])


def test_a_visible_partner_that_fits_leaves_little_to_pay() -> None:
    expected = -math.log(0.95 + 0.05 / 8)
    protein = three_residues("DLR")
    assert coupling_oracle(protein, all_visible(protein)) == pytest.approx([expected, math.log(4 / 3), expected])


def test_a_visible_partner_that_does_not_fit_costs_much() -> None:
    expected = -math.log(0.05 / 8)
    protein = three_residues("DLA")
    assert coupling_oracle(protein, all_visible(protein)) == pytest.approx([expected, math.log(4 / 3), expected])


def test_only_the_residue_that_sees_its_partner_gains() -> None:
    protein = three_residues("DLR")
    visible = np.zeros((3, 3), dtype=bool)
    visible[2, 0] = True  # as a model that reads from left to right sees it
    expected = [math.log(8), math.log(4 / 3), -math.log(0.95 + 0.05 / 8)]
    assert coupling_oracle(protein, visible) == pytest.approx(expected)


def test_without_a_visible_partner_the_oracles_agree(proteins: list[AnnotatedProtein]) -> None:
    for protein in proteins[:20]:
        hidden = np.zeros((len(protein), len(protein)), dtype=bool)
        assert np.array_equal(coupling_oracle(protein, hidden), family_oracle(protein))


def test_other_visible_residues_do_not_help(proteins: list[AnnotatedProtein]) -> None:
    for protein in proteins[:20]:
        visible = all_visible(protein)
        for first, second in protein.contacts:
            visible[first, second] = visible[second, first] = False
        assert np.array_equal(coupling_oracle(protein, visible), family_oracle(protein))


def test_the_family_oracle_spends_a_total_probability_of_one(proteins: list[AnnotatedProtein]) -> None:
    protein = proteins[0]
    with np.errstate(divide="ignore"):  # letters that a column never writes
        probabilities = [
            np.exp(-family_oracle(replace(protein, sequence=letter * len(protein)))) for letter in CANONICAL
        ]
    assert np.sum(probabilities, axis=0) == pytest.approx(1)


@pytest.mark.parametrize("number", range(3))
def test_the_coupling_oracle_spends_a_total_probability_of_one(proteins: list[AnnotatedProtein], number: int) -> None:
    protein = proteins[number]
    for position in range(len(protein)):
        visible = np.zeros((len(protein), len(protein)), dtype=bool)
        visible[position] = np.arange(len(protein)) != position
        total = 0.0
        for letter in CANONICAL:
            changed = protein.sequence[:position] + letter + protein.sequence[position + 1 :]
            with np.errstate(divide="ignore"):
                total += np.exp(-coupling_oracle(replace(protein, sequence=changed), visible)[position])
        assert total == pytest.approx(1)


def test_the_coupling_oracle_never_loses_on_average(proteins: list[AnnotatedProtein]) -> None:
    family = np.concatenate([family_oracle(protein) for protein in proteins])
    coupling = np.concatenate([coupling_oracle(protein, all_visible(protein)) for protein in proteins])
    assert coupling.mean() < family.mean()
    coupled = coupling != family
    assert coupled.sum() == 2 * sum(len(protein.contacts) for protein in proteins)
    assert coupling[coupled].mean() < family[coupled].mean()


def test_coupled_residues_cost_the_entropy_of_the_coupling(proteins: list[AnnotatedProtein]) -> None:
    losses = np.concatenate(
        [coupling_oracle(protein, all_visible(protein))[[i for i, _ in protein.contacts]] for protein in proteins]
    )
    fits, other = COUPLING_FIDELITY + (1 - COUPLING_FIDELITY) / 8, (1 - COUPLING_FIDELITY) / 8
    entropy = -fits * math.log(fits) - 7 * other * math.log(other)
    assert losses.mean() == pytest.approx(entropy, abs=4 * losses.std() / math.sqrt(len(losses)))


def test_composition_costs_its_entropy() -> None:
    # Two of four residues are L, one is D, one is R: half of ln 2 and half of ln 4.
    two = [replace(three_residues("LLR"), profile=np.zeros((3, 20))), replace(three_residues("D"), contacts=())]
    assert unigram_loss(two) == pytest.approx(1.5 * math.log(2))


def test_composition_of_all_twenty_alike_costs_the_log_of_twenty() -> None:
    assert unigram_loss([three_residues(CANONICAL), three_residues(CANONICAL[::-1])]) == pytest.approx(math.log(20))


def test_composition_of_one_letter_costs_nothing() -> None:
    assert unigram_loss([three_residues("AAAA")]) == 0


def test_knowing_the_family_is_worth_more_than_knowing_the_composition(proteins: list[AnnotatedProtein]) -> None:
    family = np.concatenate([family_oracle(protein) for protein in proteins]).mean()
    assert family < unigram_loss(proteins) - 0.5
    assert unigram_loss(proteins) < math.log(20)
