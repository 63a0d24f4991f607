import torch
from torch import Tensor

from plmdepth.tuned_lens.whitening import WhitenedTranslators


def skewed_states(n: int = 4000) -> Tensor:
    """Three layers: directions of very unlike size far from the origin; one state alone; nothing at all."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q
    sizes = torch.tensor([100.0, 30, 10, 3, 1, 0.3, 0.1, 0])
    skewed = torch.randn(n, 8, generator=generator) * sizes @ turn + 50
    return torch.stack([skewed, torch.ones(n, 8) * torch.arange(8.0), torch.zeros(n, 8)])


def chosen() -> WhitenedTranslators:
    translators = WhitenedTranslators(3, 8)
    translators.choose_coordinates(skewed_states().split(1000, dim=1))
    return translators


def test_before_the_fit_nothing_changes_bit_for_bit() -> None:
    states = skewed_states(10)
    assert torch.equal(chosen()(states), states)
    folded = chosen().folded()
    assert all(torch.equal(folded.translated(layer, states[layer]), states[layer]) for layer in range(3))


def test_large_directions_come_to_like_size_and_small_ones_stay_small() -> None:
    translators, states = chosen(), skewed_states()
    white = (states[0] - translators.mean[0]) @ translators.whitening[0]
    variances = torch.linalg.eigvalsh(white.T @ white / len(white))
    covariance = torch.cov(states[0].T, correction=0).double()
    raw = torch.linalg.eigvalsh(covariance)
    torch.testing.assert_close(variances.double(), raw / (raw + raw.mean()), rtol=1e-2, atol=1e-4)
    assert raw[-1] / raw[-2] > 8
    assert variances[-1] / variances[-2] < 2.5


def test_the_folded_translators_are_the_fitted_ones() -> None:
    translators, states = chosen(), skewed_states(200)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in translators.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    folded = translators.folded()
    for layer, expected in enumerate(translators(states)):
        torch.testing.assert_close(folded.translated(layer, states[layer]), expected, rtol=1e-4, atol=1e-3)


def test_a_layer_without_spread_or_size_can_still_be_moved() -> None:
    translators, states = chosen(), skewed_states(5)
    with torch.no_grad():
        translators.bias.fill_(1.0)
    assert torch.isfinite(translators(states)).all()
    assert torch.equal(translators(states)[2], torch.ones(5, 8))


def test_without_states_the_coordinates_stay_as_they_were() -> None:
    translators = WhitenedTranslators(3, 8)
    translators.choose_coordinates([torch.zeros(3, 0, 8)])
    assert torch.equal(translators.whitening, torch.eye(8).expand(3, 8, 8))
    assert torch.equal(translators.scale, torch.ones(3, 1, 1))
