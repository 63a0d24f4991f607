import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plmdepth.language_models.families import esm2, progen2
from plmdepth.language_models.spelling.spelling import Spelling
from plmdepth.objectives.autoregressive import Autoregressive
from plmdepth.proteins.protein import CANONICAL, Protein

N_TERMINUS, C_TERMINUS, PAD = 3, 4, 0
M, K, A, X = 16, 14, 5, 27
BATCHES = st.lists(st.text(alphabet=CANONICAL + "XUBZOJ", min_size=1, max_size=25), min_size=1, max_size=5)
each_spelling = pytest.mark.parametrize("spelling", [progen2.SPELLING, esm2.SPELLING], ids=["progen2", "esm2"])


def test_two_residues_by_hand() -> None:
    example = Autoregressive().present([Protein("a", "MK")], progen2.SPELLING, seed=0)
    assert example.tokens.ids.tolist() == [[N_TERMINUS, M, K, C_TERMINUS]]
    assert example.scored.tolist() == [[True, True, False, False]]
    assert example.labels[example.scored].tolist() == [M, K]
    assert example.targets == ((0, 1),)


def test_the_row_before_an_unknown_residue_predicts_nothing() -> None:
    example = Autoregressive().present([Protein("a", "MXK")], progen2.SPELLING, seed=0)
    assert example.tokens.ids.tolist() == [[N_TERMINUS, M, X, K, C_TERMINUS]]
    assert example.scored.tolist() == [[True, False, True, False, False]]
    assert example.labels[example.scored].tolist() == [M, K]
    assert example.targets == ((0, 2),)


def test_neither_terminus_nor_padding_is_predicted() -> None:
    example = Autoregressive().present([Protein("a", "MKAM"), Protein("b", "A")], progen2.SPELLING, seed=0)
    assert example.tokens.ids[1].tolist() == [N_TERMINUS, A, C_TERMINUS, PAD, PAD, PAD]
    assert example.scored[1].tolist() == [True, False, False, False, False, False]


def test_a_protein_without_a_possible_target_has_none() -> None:
    example = Autoregressive().present([Protein("a", "XXX"), Protein("b", "MK")], progen2.SPELLING, seed=0)
    assert example.targets == ((), (0, 1))
    assert not example.scored[0].any()


@each_spelling
@given(sequences=BATCHES)
@settings(deadline=None)
def test_every_scored_row_predicts_the_next_residue(spelling: Spelling, sequences: list[str]) -> None:
    proteins = [Protein(str(number), sequence) for number, sequence in enumerate(sequences)]
    example = Autoregressive().present(proteins, spelling, seed=0)
    for row, sequence in enumerate(sequences):
        predicted = []
        for column in range(example.tokens.ids.shape[1]):
            if example.scored[row, column]:
                assert example.labels[row, column] == example.tokens.ids[row, column + 1]
                predicted.append(column)  # one token stands before the first residue
        expected = [position for position, letter in enumerate(sequence) if letter in CANONICAL]
        assert predicted == expected
        assert example.targets[row] == tuple(expected)
        assert [spelling.letters[sequence[p]] for p in expected] == example.labels[row, predicted].tolist()


@each_spelling
def test_the_model_reads_the_proteins_as_they_are(spelling: Spelling) -> None:
    proteins = [Protein("a", "MKXTV"), Protein("b", "AC")]
    example = Autoregressive().present(proteins, spelling, seed=0)
    plain = spelling.encode(["MKXTV", "AC"])
    assert torch.equal(example.tokens.ids, plain.ids)
    assert torch.equal(example.tokens.attended, plain.attended)
    assert torch.equal(example.context, plain.residues)


def test_nothing_is_drawn() -> None:
    proteins = [Protein("a", "MKTV")]
    one, two = (Autoregressive().present(proteins, progen2.SPELLING, seed) for seed in (0, 1))
    assert torch.equal(one.tokens.ids, two.tokens.ids)
    assert torch.equal(one.scored, two.scored)


def test_every_protein_weighs_the_same_and_training_is_no_different() -> None:
    proteins = [Protein("a", "MKTV"), Protein("b", "A")]
    assert Autoregressive().present(proteins, progen2.SPELLING, seed=0).weights.tolist() == [1, 1]
    assert Autoregressive().for_training() == Autoregressive()
