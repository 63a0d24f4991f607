from functools import partial

import numpy as np
import pytest
import torch

from plmdepth.metrics.accumulators import MeanAccumulator
from plmdepth.scores.average_precision import weighted_auprc_micro
from plmdepth.scores.bootstrap import bootstrap, certain, difference, estimate
from plmdepth.scores.selective import weighted_aurc, weighted_excess_aurc
from tests.scores.references import multilabel, weights
from tests.scores.values import weighted_f1_max


def mean(values: torch.Tensor, replicates: torch.Tensor) -> torch.Tensor:
    return replicates @ values.T / replicates.sum(1, keepdim=True)


def test_of_a_mean_it_is_the_interval_of_the_mean_accumulator() -> None:
    values = torch.randn(3, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    replicates = weights(40, 300)
    accumulator = MeanAccumulator((3,), 300)
    accumulator.update(values.T, replicates)
    for mine, theirs in zip(bootstrap(partial(mean, values), replicates), accumulator.compute(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_interval_of_f1_max_agrees_with_an_ordinary_bootstrap() -> None:
    probabilities, targets = multilabel(1, 60, 5, grid=1000)
    result = bootstrap(partial(weighted_f1_max, probabilities, targets), weights(60, 1000))
    generator = np.random.default_rng(0)
    counts = generator.multinomial(60, np.full(60, 1 / 60), 2000)
    drawn = weighted_f1_max(probabilities, targets, torch.from_numpy(counts))[:, 0].numpy()
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert result.low.item() == pytest.approx(low, abs=0.15 * (high - low))
    assert result.high.item() == pytest.approx(high, abs=0.15 * (high - low))


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says() -> None:
    covered = 0
    for trial in range(200):
        generator = torch.Generator().manual_seed(trial)
        shared = torch.randn(40, generator=generator, dtype=torch.float64)
        values = torch.stack([shared + 0.1 * torch.randn(40, generator=generator), shared + 0.3])
        result = difference(bootstrap(partial(mean, values), weights(40, 300, trial)))
        covered += int(result.low[0] <= -0.3 <= result.high[0])
    assert 176 <= covered <= 198  # 95 % of 200 is 190; small samples cover a little less


def test_a_difference_is_paired() -> None:
    shared = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = torch.stack([shared, shared + 0.2, shared + 0.2])
    single = bootstrap(partial(mean, values), weights(50, 400))
    result = difference(single)
    assert result.value.tolist() == pytest.approx([-0.2, 0, 0])
    assert result.high[0].item() == pytest.approx(-0.2)  # every replicate moves both layers alike
    assert (single.high - single.low)[0] > 0.3
    assert result.low[2] == result.high[2] == 0
    assert difference(single, 0).value.tolist() == pytest.approx([0, 0.2, 0.2])


def test_a_planted_difference_of_average_precision_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(300, 10, generator=generator) < 0.2
    noise = torch.randn(3, 300, 10, generator=generator)
    probabilities = (noise + torch.tensor([1.0, 2.0, 2.0])[:, None, None] * targets).sigmoid()
    result = difference(bootstrap(partial(weighted_auprc_micro, probabilities, targets), weights(300, 200)))
    assert result.high[0] < 0
    assert result.low[1] < 0 < result.high[1]


def test_weights_of_other_proteins_are_refused() -> None:
    probabilities, targets = multilabel()
    values = probabilities[..., 0]
    for score in (weighted_f1_max, weighted_auprc_micro):
        with pytest.raises(ValueError, match="bootstrap weights"):
            score(probabilities, targets, weights(13, 5))
    for score in (weighted_aurc, weighted_excess_aurc):
        with pytest.raises(ValueError, match="bootstrap weights"):
            score(values, values, weights(13, 5))


def test_one_protein_has_no_interval() -> None:
    result = bootstrap(partial(mean, torch.ones(2, 1, dtype=torch.float64)), weights(1, 100))
    assert result.value.tolist() == [1, 1]
    assert result.low.isnan().all()
    assert difference(result).high.isnan().all()


def test_without_replicates_there_is_a_value_alone() -> None:
    result = bootstrap(partial(mean, torch.ones(2, 5, dtype=torch.float64)), torch.zeros(0, 5))
    assert result.value.tolist() == [1, 1]
    assert result.high.isnan().all()


@pytest.mark.parametrize(("right", "n"), [(12, 12), (0, 3), (0, 40), (2, 2)])
def test_where_all_agree_the_interval_is_that_of_clopper_and_pearson(right: int, n: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    share = torch.tensor([right / n]).double()
    point = estimate(share, share.repeat(50, 1), torch.tensor([n]))
    assert point.low == point.high
    found, exact = certain(point, (0, 1), n), stats.binomtest(right, n).proportion_ci(method="exact")
    assert (float(found.low), float(found.high)) == pytest.approx((exact.low, exact.high))


def test_an_interval_that_is_no_point_stays_and_one_cluster_has_none() -> None:
    replicates = torch.linspace(0, 1, 50).double()[:, None]
    found = estimate(torch.tensor([0.5]).double(), replicates, torch.tensor([9]))
    assert certain(found, (0, 1), 9)[1:3] == found[1:3]
    assert all(bool(end.isnan()) for end in certain(found, (0, 1), 1)[1:3])
