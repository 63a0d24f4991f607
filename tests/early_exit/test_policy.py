"""How sure heads are of a protein, and where it leaves: against loops and by hand."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from plmdepth.early_exit.policy import (
    FALLBACKS,
    Fallback,
    ProteinConfidence,
    exits,
    max_probability,
    mean_certainty,
    n_needed,
    predictions_at,
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


def test_the_share_by_hand() -> None:
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


CONFIDENCE = torch.tensor(
    [
        [0.99, 0.99, 0.99],  # the embedding is never left from
        [0.50, 0.10, 0.30],
        [0.80, 0.20, 0.70],
        [0.60, 0.90, 0.40],
    ]
)


def exits_naively(confidence: Tensor, threshold: float, fallback: Fallback) -> list[tuple[int, int]]:
    found = []
    for protein in range(confidence.shape[1]):
        column = confidence[:, protein].tolist()
        n_layers = len(column) - 1
        sure = [layer for layer in range(1, n_layers + 1) if column[layer] >= threshold]
        never = n_layers if fallback == "last" else 1 + column[1:].index(max(column[1:]))
        found.append((sure[0], sure[0]) if sure else (never, n_layers))
    return found


def test_exits_by_hand() -> None:
    layer, computed = exits(CONFIDENCE, torch.tensor([0.75]), "most_confident")
    assert layer.tolist() == [[2, 3, 2]]  # the third was never sure: its most confident layer is 2
    assert computed.tolist() == [[2, 3, 3]]
    assert exits(CONFIDENCE, torch.tensor([0.75]), "last").layer.tolist() == [[2, 3, 3]]


@pytest.mark.parametrize("fallback", FALLBACKS)
def test_all_thresholds_at_once_equal_a_loop(fallback: Fallback) -> None:
    confidence = torch.rand((9, 40), generator=torch.Generator().manual_seed(0))
    thresholds = torch.linspace(0, 1.1, 23)
    layer, computed = exits(confidence, thresholds, fallback)
    for row, threshold in enumerate(thresholds.tolist()):
        mine = list(zip(layer[row].tolist(), computed[row].tolist(), strict=True))
        assert mine == exits_naively(confidence, threshold, fallback)


def test_a_higher_threshold_never_saves_a_layer() -> None:
    confidence = torch.rand((9, 40), generator=torch.Generator().manual_seed(1))
    computed = exits(confidence, torch.linspace(0, 1, 50), "last").computed
    assert (computed.diff(dim=0) >= 0).all()
    assert (computed[0] == 1).all()


def test_the_prediction_is_that_of_the_layer_of_exit() -> None:
    probabilities = torch.rand((4, 3, 2))
    found = predictions_at(probabilities, torch.tensor([3, 1, 2]))
    assert torch.equal(found, torch.stack([probabilities[3, 0], probabilities[1, 1], probabilities[2, 2]]))


def test_thresholds_are_compared_in_the_precision_of_the_confidence() -> None:
    below = torch.tensor(0.9)  # in single precision a little less than 0.9; a running protein leaves with it
    confidence = torch.stack([torch.zeros(()), below, below])[:, None]
    assert (below >= 0.9).item()
    assert float(below) < 0.9
    assert exits(confidence, torch.tensor([0.9], dtype=torch.float64), "last").computed.tolist() == [[1]]
