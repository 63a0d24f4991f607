import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plmdepth.scores.selective import weighted_aurc, weighted_excess_aurc
from tests.scores import references
from tests.scores.references import repeated, weights
from tests.scores.values import aurc, excess_aurc


def ranked(n_layers: int = 3, n_items: int = 20, seed: int = 0, grid: int = 8) -> tuple[Tensor, Tensor]:
    """Return confidences with ties and losses with ties."""
    generator = torch.Generator().manual_seed(seed)
    confidence = (torch.rand(n_layers, n_items, generator=generator) * grid).round() / grid
    return confidence, (torch.rand(n_layers, n_items, generator=generator) * 3).round()


@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([2, 1000]))
@settings(max_examples=30, deadline=None)
def test_they_are_the_scores_of_a_loop(seed: int, n_items: int, grid: int) -> None:
    confidence, loss = ranked(2, n_items, seed, grid)
    areas = [references.aurc(*layer) for layer in zip(confidence, loss, strict=True)]
    oracles = [references.oracle(layer) for layer in loss]
    assert aurc(confidence, loss).tolist() == pytest.approx(areas)
    assert excess_aurc(confidence, loss).tolist() == pytest.approx(np.subtract(areas, oracles), abs=1e-12)


def test_a_case_by_hand() -> None:
    confidence = torch.tensor([[0.9, 0.7, 0.7, 0.1]])
    loss = torch.tensor([[0.0, 1.0, 0.0, 1.0]])
    # risks 0, 1/3, 1/3, 1/2; the oracle's 0, 0, 1/3, 1/2
    assert aurc(confidence, loss).item() == pytest.approx((1 / 3 + 1 / 3 + 1 / 2) / 4)
    assert excess_aurc(confidence, loss).item() == pytest.approx(1 / 3 / 4)


def test_the_oracle_is_that_of_the_paper_for_errors() -> None:
    n, n_errors = 1000, 150
    loss = (torch.arange(n) >= n - n_errors).double()[None]
    exact = sum(i / (n - n_errors + i) for i in range(1, n_errors + 1)) / n
    confidence = -torch.arange(n).double()[None]
    assert aurc(confidence, loss).item() == pytest.approx(exact)
    assert excess_aurc(confidence, loss).item() == pytest.approx(0, abs=1e-12)
    error = n_errors / n
    assert aurc(confidence, loss).item() == pytest.approx(error + (1 - error) * np.log(1 - error), abs=1e-3)


def test_a_constant_confidence_has_the_mean_loss() -> None:
    _, loss = ranked()
    assert aurc(torch.full_like(loss, 0.3), loss).tolist() == pytest.approx(loss.mean(1).tolist())


def test_a_loss_without_spread_leaves_nothing_to_gain() -> None:
    confidence, _ = ranked()
    assert excess_aurc(confidence, torch.ones_like(confidence)).tolist() == pytest.approx([0] * 3, abs=1e-12)


def test_planted_ranks_are_ordered_and_none_is_below_the_oracle() -> None:
    generator = torch.Generator().manual_seed(0)
    loss = torch.rand(500, generator=generator).expand(4, 500)
    noise = torch.rand(4, 500, generator=generator)
    skill = torch.tensor([-1.0, 0.0, 0.5, 1.0])[:, None]
    values = excess_aurc(noise * (1 - skill.abs()) - skill * loss, loss)
    assert (values.diff() < -0.02).all()
    assert values[-1].item() == pytest.approx(0, abs=1e-12)


def test_order_and_a_rising_change_of_confidence_change_nothing() -> None:
    confidence, loss = ranked()
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    for score in (aurc, excess_aurc):
        torch.testing.assert_close(score(confidence[:, order], loss[:, order]), score(confidence, loss))
        torch.testing.assert_close(score(confidence.exp(), loss), score(confidence, loss))


def test_a_weight_counts_copies() -> None:
    confidence, loss = ranked()
    replicates = weights(20, 8)
    for weighted, score in ((weighted_aurc, aurc), (weighted_excess_aurc, excess_aurc)):
        rows = weighted(confidence, loss, replicates)
        for row, weighting in zip(rows, replicates, strict=True):
            copies = repeated(weighting)
            torch.testing.assert_close(row, score(confidence[:, copies], loss[:, copies]))


def test_without_items_they_are_undefined() -> None:
    empty = torch.zeros(2, 0)
    assert aurc(empty, empty).isnan().all()
    assert excess_aurc(empty, empty).isnan().all()


def test_what_does_not_fit_is_refused() -> None:
    confidence, loss = ranked()
    with pytest.raises(ValueError, match="loss are not finite"):
        aurc(confidence, loss / 0)
    with pytest.raises(ValueError, match="confidence are not finite"):
        excess_aurc(confidence * torch.nan, loss)
    with pytest.raises(ValueError, match=r"\[layer, item\]"):
        aurc(confidence, loss[:, :3])
