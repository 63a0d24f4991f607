"""How sure heads are of a protein: a share of its residues, against loops and by hand."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from plmdepth.early_exit.confidence import (
    ProteinConfidence,
    max_probability,
    mean_certainty,
    n_needed,
    surest_share,
)

SHARES = ("0.05", "0.3", "0.5", "0.55", "0.7", "0.8", "0.9", "1.0")


def leaves_naively(certainty: list[float], threshold: float, share: str) -> bool:
    """Say whether a share of the residues is sure enough, in exact arithmetic."""
    return Fraction(sum(each >= threshold for each in certainty), len(certainty)) >= Fraction(share)


@pytest.mark.parametrize("share", SHARES)
def test_the_confidence_reaches_a_threshold_where_a_share_of_the_residues_does(share: str) -> None:
    generator = torch.Generator().manual_seed(0)
    for n in (1, 2, 3, 5, 7, 10, 20, 100):
        for _ in range(5):
            certainty = torch.randint(0, 8, (n,), generator=generator) / 8  # many ties, exact in binary
            found = surest_share(certainty[None], torch.ones(1, n, dtype=torch.bool), float(share))
            for threshold in (torch.arange(18) / 16).tolist():
                assert (found.item() >= threshold) == leaves_naively(certainty.tolist(), threshold, share)


def test_the_number_needed_is_the_least_that_makes_the_share() -> None:
    for share in SHARES:
        for n in range(1, 400):
            wanted = next(k for k in range(1, n + 1) if Fraction(k, n) >= Fraction(share))
            assert n_needed(float(share), n) == wanted


def test_by_hand() -> None:
    certainty = torch.tensor([[0.9, 0.5, 0.8, 0.7, 0.6]])
    everyone = torch.ones(1, 5, dtype=torch.bool)
    assert surest_share(certainty, everyone, 0.8).item() == pytest.approx(0.6)  # four of five are at 0.6 or more
    assert surest_share(certainty, everyone, 1.0).item() == 0.5
    assert surest_share(certainty, everyone, 0.01).item() == pytest.approx(0.9)


def test_padding_is_no_residue() -> None:
    certainty = torch.tensor([[0.9, 0.8, 0.7], [0.4, 0.99, 0.99]])
    present = torch.tensor([[True, True, True], [True, False, False]])
    assert surest_share(certainty, present, 0.5).tolist() == pytest.approx([0.8, 0.4])


def ragged(seed: int, counts: list[int], n_layers: int = 4) -> Tensor:
    return torch.rand((n_layers, sum(counts), 3), generator=torch.Generator().manual_seed(seed)).softmax(-1)


@pytest.mark.parametrize("share", [0.3, 0.8, 1.0])
def test_rows_one_after_another_give_what_padded_ones_do(share: float) -> None:
    counts = [1 + i * 7 % 13 for i in range(150)]
    probabilities, rule = ragged(0, counts), ProteinConfidence(max_probability, share)
    found = rule.of_rows(probabilities, torch.tensor(counts))
    assert found.shape == (4, 150)
    start = 0
    for protein, n in enumerate(counts):
        mine = probabilities[:, start : start + n]
        for layer in range(4):
            ranked = sorted(mine[layer].amax(-1).tolist(), reverse=True)
            assert found[layer, protein].item() == ranked[n_needed(share, n) - 1]
        padded = torch.zeros(4, 20, 3)
        padded[:, :n] = mine
        present = torch.arange(20)[None].expand(4, -1) < n
        assert torch.equal(rule(padded, present), found[:, protein])
        start += n


def test_of_one_answer_the_confidence_is_its_certainty_at_any_share() -> None:
    probabilities = ragged(1, [1] * 30)
    for share in (0.2, 1.0):
        found = ProteinConfidence(max_probability, share).of_rows(probabilities, torch.ones(30, dtype=torch.long))
        assert torch.equal(found, probabilities.amax(-1))


def test_sure_absences_count_where_the_likeliest_term_says_nothing() -> None:
    sure, unsure = torch.tensor([1.0, 0.0, 0.0, 0.01]), torch.tensor([1.0, 0.5, 0.4, 0.6])
    assert max_probability(sure) == max_probability(unsure) == 1.0
    assert mean_certainty(sure).item() == pytest.approx((1 + 1 + 1 + 0.99) / 4)
    assert mean_certainty(unsure).item() == pytest.approx((1 + 0.5 + 0.6 + 0.6) / 4)
