import numpy as np
import pytest
import torch
from torch import Tensor

from plmdepth.metrics.accumulators import Estimate, MaxAccumulator, MeanAccumulator, bootstrap_weights
from plmdepth.proteins.protein import Protein

N, SHAPE = 60, (2, 3)


def data() -> tuple[Tensor, list[Protein]]:
    values = torch.randn(N, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 3
    values[::4, 0, 1] = torch.nan
    return values, [Protein(f"p{i}", "MKT" + "A" * i) for i in range(N)]


def estimate(order: list[int], size: int) -> Estimate:
    values, proteins = data()
    accumulator = MeanAccumulator(SHAPE)
    for start in range(0, N, size):
        rows = order[start : start + size]
        accumulator.update(values[rows], bootstrap_weights([proteins[i] for i in rows], 0, accumulator.n_replicates))
    return accumulator.compute()


def test_the_mean_counts_only_what_is_defined() -> None:
    values, _ = data()
    result = estimate(list(range(N)), 60)
    np.testing.assert_allclose(result.value, np.nanmean(values, axis=0), rtol=1e-12)
    assert result.n[0, 1] == 45
    assert result.n[1, 1] == 60


def test_order_and_batching_change_nothing() -> None:
    shuffled = np.random.default_rng(1).permutation(N).tolist()
    for mine, theirs in zip(estimate(list(range(N)), 60), estimate(shuffled, 7), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_the_interval_agrees_with_an_ordinary_bootstrap() -> None:
    values = data()[0].numpy()[:, 1, 0]
    generator = np.random.default_rng(0)
    means = [generator.choice(values, N).mean() for _ in range(4000)]
    low, high = np.quantile(means, [0.025, 0.975])
    result = estimate(list(range(N)), 60)
    width = high - low
    assert result.low[1, 0].item() == pytest.approx(low, abs=0.12 * width)
    assert result.high[1, 0].item() == pytest.approx(high, abs=0.12 * width)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    proteins = [Protein(f"p{i}", "A" * (i + 1)) for i in range(40)]
    covered = 0
    for trial in range(200):
        values = torch.randn(40, 1, 1, generator=torch.Generator().manual_seed(trial), dtype=torch.float64)
        accumulator = MeanAccumulator((1, 1), n_replicates=300)
        accumulator.update(values, bootstrap_weights(proteins, trial, 300))
        result = accumulator.compute()
        covered += int(result.low <= 0 <= result.high)
    assert 176 <= covered <= 198  # 95 % of 200 is 190; small samples cover a little less


def test_two_processes_add_up_to_one() -> None:
    values, proteins = data()
    parts = []
    for rows in (range(20), range(20, N)):
        part = MeanAccumulator(SHAPE)
        part.update(values[list(rows)], bootstrap_weights([proteins[i] for i in rows], 0, part.n_replicates))
        parts.append(part)
    merged = MeanAccumulator(SHAPE)
    for name in ("total", "n", "replicate_total", "replicate_weight"):
        setattr(merged, name, getattr(parts[0], name) + getattr(parts[1], name))
    merged._update_count = 2
    torch.testing.assert_close(merged.compute().low, estimate(list(range(N)), 60).low, rtol=1e-12, atol=1e-12)


def test_one_sequence_has_no_interval() -> None:
    accumulator = MeanAccumulator((1, 1))
    accumulator.update(torch.ones(1, 1, 1), bootstrap_weights([Protein("a", "MK")], 0, accumulator.n_replicates))
    result = accumulator.compute()
    assert result.value.item() == 1
    assert result.low.isnan().all()
    assert result.high.isnan().all()


def test_weights_belong_to_seed_and_sequence() -> None:
    first, second = Protein("a", "MKT"), Protein("b", "MKV")
    both = bootstrap_weights([first, second], 0, 500)
    assert torch.equal(both[:, 1:], bootstrap_weights([second], 0, 500))
    assert not torch.equal(both[:, :1], bootstrap_weights([first], 1, 500))
    assert both.mean().item() == pytest.approx(1.0, abs=0.1)


def test_copies_of_a_sequence_have_one_weight() -> None:
    one, copy, other = Protein("a", "MKT"), Protein("b", "MKT", copy_of="a"), Protein("b", "MKT")
    weights = bootstrap_weights([one, copy, other], 0, 500)
    assert torch.equal(weights[:, 0], weights[:, 1])
    assert not torch.equal(weights[:, 0], weights[:, 2])


def test_memory_does_not_grow_with_the_number_of_sequences() -> None:
    accumulator = MeanAccumulator(SHAPE)
    before = sum(getattr(accumulator, name).numel() for name in accumulator._defaults)
    values, proteins = data()
    for _ in range(50):
        accumulator.update(values, bootstrap_weights(proteins, 0, accumulator.n_replicates))
    assert sum(getattr(accumulator, name).numel() for name in accumulator._defaults) == before


def test_a_maximum_is_that_of_the_defined_values_and_its_interval_lies_below() -> None:
    values, proteins = data()
    accumulator = MaxAccumulator(SHAPE)
    for start in range(0, N, 7):
        rows = slice(start, start + 7)
        accumulator.update(values[rows], bootstrap_weights(proteins[rows], 0))
    result = accumulator.compute()
    np.testing.assert_allclose(result.value, np.nanmax(values, axis=0), rtol=1e-12)
    weights = bootstrap_weights(proteins, 0).numpy()
    expected = np.stack([np.nanmax(values.numpy()[drawn > 0], axis=0) for drawn in weights])
    np.testing.assert_allclose(result.replicates, expected, rtol=1e-12)
    assert (result.high <= result.value).all()


def test_a_maximum_of_nothing_is_undefined() -> None:
    accumulator = MaxAccumulator((1,))
    accumulator.update(torch.full((2, 1), torch.nan), bootstrap_weights([Protein("a", "M"), Protein("b", "K")], 0))
    assert accumulator.compute().value.isnan().all()
