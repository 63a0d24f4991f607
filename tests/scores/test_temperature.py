import pytest
import torch
from torch import Tensor

from plmdepth.scores.temperature import (
    HOTTEST,
    fit_sigmoid_temperatures,
    fit_softmax_temperatures,
)


def sigmoid_at(logits: Tensor, temperatures: Tensor) -> Tensor:
    return (logits / temperatures[:, None, None]).sigmoid()


def softmax_at(logits: Tensor, temperatures: Tensor) -> Tensor:
    return (logits / temperatures[:, None, None]).softmax(-1)


PLANTED = torch.tensor([0.3, 1.0, 4.0], dtype=torch.float64)


def sigmoid_data(n: int = 3000) -> tuple[Tensor, Tensor]:
    """Return logits of three layers that are honest at the planted temperatures, and targets."""
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(n, 4, generator=generator, dtype=torch.float64) * 2 - 1
    targets = torch.rand(n, 4, generator=generator, dtype=torch.float64) < honest.sigmoid()
    return honest * PLANTED[:, None, None], targets


def softmax_data(n: int = 6000) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(n, 5, generator=generator, dtype=torch.float64) * 2
    labels = torch.multinomial(honest.softmax(-1), 1, generator=generator)[:, 0]
    return honest * PLANTED[:, None, None], labels


def test_planted_temperatures_are_found() -> None:
    assert fit_sigmoid_temperatures(*sigmoid_data()).tolist() == pytest.approx(PLANTED.tolist(), rel=0.06)
    assert fit_softmax_temperatures(*softmax_data()).tolist() == pytest.approx(PLANTED.tolist(), rel=0.06)


def test_the_fit_is_the_least_of_a_fine_grid() -> None:
    logits, targets = sigmoid_data(200)
    labelled, labels = softmax_data(200)
    grid = torch.linspace(-2.5, 2.5, 5001, dtype=torch.float64).exp()
    bce, ce = torch.nn.functional.binary_cross_entropy_with_logits, torch.nn.functional.cross_entropy
    for layer in range(3):
        sigmoid = [bce(logits[layer] / t, targets.double()).item() for t in grid]
        softmax = [ce(labelled[layer] / t, labels).item() for t in grid]
        best = grid[sigmoid.index(min(sigmoid))], grid[softmax.index(min(softmax))]
        assert fit_sigmoid_temperatures(logits, targets)[layer].item() == pytest.approx(best[0].item(), rel=2e-3)
        assert fit_softmax_temperatures(labelled, labels)[layer].item() == pytest.approx(best[1].item(), rel=2e-3)


def test_the_slope_vanishes_at_the_fit() -> None:
    logits, targets = sigmoid_data(100)
    temperatures = fit_sigmoid_temperatures(logits, targets).requires_grad_()
    p = sigmoid_at(logits, temperatures)
    loss = torch.nn.functional.binary_cross_entropy(p, targets.double().expand_as(p), reduction="none").mean((1, 2))
    (slope,) = torch.autograd.grad(loss.sum(), temperatures)
    assert slope.abs().max() < 1e-9


def test_scaled_logits_scale_the_temperature_and_leave_the_probabilities() -> None:
    logits, targets = sigmoid_data(300)
    one, other = fit_sigmoid_temperatures(logits, targets), fit_sigmoid_temperatures(logits * 1.7, targets)
    torch.testing.assert_close(other, one * 1.7)
    torch.testing.assert_close(sigmoid_at(logits * 1.7, other), sigmoid_at(logits, one))


def test_order_of_proteins_and_repetition_change_nothing() -> None:
    logits, labels = softmax_data(300)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    fitted = fit_softmax_temperatures(logits, labels)
    assert torch.equal(fitted, fit_softmax_temperatures(logits, labels))
    torch.testing.assert_close(fit_softmax_temperatures(logits[:, order], labels[order]), fitted)


def test_labels_that_are_not_scored_do_not_count() -> None:
    logits, labels = softmax_data(300)
    masked = torch.where(torch.arange(300) < 200, labels, -1)
    expected = fit_softmax_temperatures(logits[:, :200], labels[:200])
    torch.testing.assert_close(fit_softmax_temperatures(logits, masked), expected)


def test_a_head_without_errors_and_one_that_is_always_wrong_end_at_the_bounds() -> None:
    targets = torch.tensor([[1, 0], [0, 1]])
    sure = torch.where(targets.bool(), 1.0, -1.0)
    temperatures = fit_sigmoid_temperatures(torch.stack([sure, -sure]), targets)
    assert temperatures.tolist() == pytest.approx([1 / HOTTEST, HOTTEST])
    labels = targets.argmax(-1)
    assert fit_softmax_temperatures(torch.stack([sure, -sure]), labels).tolist() == pytest.approx([0.05, 20])


def test_a_head_that_says_nothing_keeps_a_temperature_of_one() -> None:
    assert fit_softmax_temperatures(torch.zeros(2, 3, 4), torch.tensor([0, 1, 2])).tolist() == [1, 1]


def test_ranking_of_classes_stays() -> None:
    logits, _ = softmax_data(50)
    assert torch.equal(softmax_at(logits, PLANTED).argmax(-1), logits.argmax(-1))
    torch.testing.assert_close(softmax_at(logits, PLANTED)[0], softmax_at(logits, PLANTED)[2])


def test_what_cannot_be_fitted_is_refused() -> None:
    logits, labels = softmax_data(10)
    with pytest.raises(ValueError, match="at least one"):
        fit_softmax_temperatures(logits, torch.full_like(labels, -1))
    with pytest.raises(ValueError, match="at least one"):
        fit_sigmoid_temperatures(torch.zeros(2, 0, 3), torch.zeros(0, 3))
    with pytest.raises(ValueError, match="not finite"):
        fit_softmax_temperatures(logits / 0, labels)
    with pytest.raises(ValueError, match=r"\[layer, item, class\]"):
        fit_softmax_temperatures(logits[0], labels)


def test_classes_that_are_never_predicted_have_no_part() -> None:
    logits, labels = softmax_data(500)
    never = torch.full((3, 500, 1), -torch.inf)
    among = torch.cat([never, logits], dim=-1)
    strange = torch.where(torch.arange(500) < 9, 0, labels + 1)  # nine items are of the class that is never predicted
    torch.testing.assert_close(
        fit_softmax_temperatures(among, strange), fit_softmax_temperatures(logits[:, 9:], labels[9:])
    )
    logits, targets = sigmoid_data(500)
    among = torch.cat([torch.full((3, 500, 1), -torch.inf), logits], dim=-1)
    both = torch.cat([torch.ones(500, 1).bool(), targets], dim=-1)
    torch.testing.assert_close(fit_sigmoid_temperatures(among, both), fit_sigmoid_temperatures(logits, targets))
