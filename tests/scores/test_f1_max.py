import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plmdepth.scores.f1_max import THRESHOLDS, F1Max, F1MaxEstimate
from tests.scores import references
from tests.scores.references import multilabel, repeated, weights
from tests.scores.values import f1_max, weighted_f1_max


@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 4), st.sampled_from([3, 100, 1000]))
@settings(max_examples=25, deadline=None)
def test_it_is_the_score_of_a_loop(seed: int, n_proteins: int, n_terms: int, grid: int) -> None:
    probabilities, targets = multilabel(2, n_proteins, n_terms, seed, grid)
    expected = [references.f1_max(layer, targets, THRESHOLDS.tolist()) for layer in probabilities]
    torch.testing.assert_close(
        f1_max(probabilities, targets), torch.tensor(expected, dtype=torch.float64), equal_nan=True
    )


def test_a_case_by_hand() -> None:
    probabilities = torch.tensor([[[0.9, 0.8, 0.1], [0.6, 0.2, 0.3]]])
    targets = torch.tensor([[1, 0, 0], [0, 1, 0]])
    # at 0.9: the first protein alone predicts, precision 1, recall (1 + 0) / 2, F 2/3; at 0.2: (1/2 + 1/3) / 2 and 1
    assert f1_max(probabilities, targets).item() == pytest.approx(2 / 3)
    result = _accumulated(probabilities, targets)
    assert result.threshold.item() == pytest.approx(0.81)  # the lowest threshold above 0.8


def test_a_protein_without_a_prediction_leaves_precision_but_not_recall() -> None:
    probabilities = torch.tensor([[[0.9, 0.1], [0.0, 0.0]]])
    targets = torch.tensor([[1, 0], [1, 1]])
    high = torch.tensor([0.5])
    assert f1_max(probabilities, targets, high).item() == pytest.approx(2 * 1 * 0.5 / 1.5)
    assert f1_max(probabilities, targets, torch.tensor([0.95])).item() == 0  # no prediction at all


def test_a_protein_without_a_true_term_is_a_miss_and_no_part_of_recall() -> None:
    probabilities = torch.tensor([[[0.9, 0.1], [0.9, 0.1]]])
    high = torch.tensor([0.5])
    assert f1_max(probabilities, torch.tensor([[1, 0], [0, 0]]), high).item() == pytest.approx(2 * 0.5 / 1.5)


def test_without_any_true_term_it_is_undefined() -> None:
    probabilities, _ = multilabel()
    assert f1_max(probabilities, torch.zeros(12, 5)).isnan().all()
    assert f1_max(torch.zeros(2, 0, 3), torch.zeros(0, 3)).isnan().all()


def test_a_perfect_head_has_one_and_a_constant_head_what_predicting_everything_has() -> None:
    _, targets = multilabel()
    targets[:, 0] = True
    heads = torch.stack([targets.float(), torch.full((12, 5), 0.3)])
    precision = targets.float().mean().item()
    assert f1_max(heads, targets).tolist() == pytest.approx([1.0, 2 * precision / (precision + 1)])


def test_a_probability_on_the_grid_reaches_its_threshold() -> None:
    for probability in THRESHOLDS.tolist():
        high = torch.tensor([probability])
        assert f1_max(torch.full((1, 1, 1), probability), torch.ones(1, 1), high).item() == 1


def test_planted_layers_are_ranked() -> None:
    generator = torch.Generator().manual_seed(1)
    targets = torch.rand(200, 20, generator=generator) < 0.1
    noise = torch.randn(4, 200, 20, generator=generator)
    probabilities = (noise + torch.arange(4)[:, None, None] * 2 * targets).sigmoid()
    values = f1_max(probabilities, targets)
    assert (values.diff() > 0.05).all()


def test_no_threshold_that_occurs_is_better_by_definition_of_the_original() -> None:
    probabilities, targets = multilabel(2, 30, 6, grid=10_000)
    targets[:, 0] = True
    for layer, value in zip(probabilities, f1_max(probabilities, targets), strict=True):
        occurring = sorted(set(layer.flatten().tolist()))
        exact = references.f1_max(layer, targets, occurring)
        assert value.item() <= exact + 1e-12
        assert f1_max(layer[None], targets, torch.tensor(occurring)).item() == pytest.approx(exact)


def test_order_batches_and_processes_change_nothing() -> None:
    probabilities, targets = multilabel(3, 13)
    replicates = weights(13, 20)
    whole = _accumulated(probabilities, targets, replicates)
    order = torch.randperm(13, generator=torch.Generator().manual_seed(0))
    parts = []
    for rows in (order[:4], order[4:5], order[5:]):
        part = F1Max(3, 20)
        part.update(probabilities[:, rows], targets[rows], replicates[:, rows])
        parts.append(part)
    merged = parts[0]
    for part in parts[1:]:
        merged.sums += part.sums
        merged.n += part.n
    result = merged.compute()
    torch.testing.assert_close(result.threshold, whole.threshold)
    for mine, theirs in zip(result.score, whole.score, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(whole.score.value, f1_max(probabilities, targets))


def test_a_weight_counts_copies() -> None:
    probabilities, targets = multilabel(3, 13)
    replicates = weights(13, 6)
    rows = weighted_f1_max(probabilities, targets, replicates)
    for row, weighting in zip(rows, replicates, strict=True):
        copies = repeated(weighting)
        torch.testing.assert_close(row, f1_max(probabilities[:, copies], targets[copies]))
    assert torch.allclose(_accumulated(probabilities, targets, replicates).score.replicates, rows)


def test_memory_does_not_grow_with_proteins() -> None:
    metric = F1Max(3)
    probabilities, targets = multilabel()
    for _ in range(5):
        metric.update(probabilities, targets)
    assert metric.sums.shape == (1, 3, 304)
    assert metric.n == 60


def test_what_does_not_fit_is_refused() -> None:
    probabilities, targets = multilabel()
    with pytest.raises(ValueError, match="logits"):
        f1_max(probabilities + 1, targets)
    with pytest.raises(ValueError, match="bootstrap weights"):
        F1Max(3, 5).update(probabilities, targets)
    with pytest.raises(ValueError, match="bootstrap weights"):
        F1Max(3).update(probabilities, targets, weights(12, 5))
    with pytest.raises(ValueError, match="layer"):
        F1Max(4).update(probabilities, targets)
    with pytest.raises(ValueError, match="rise"):
        f1_max(probabilities, targets, torch.tensor([0.5, 0.5]))


def _accumulated(probabilities: Tensor, targets: Tensor, replicates: Tensor | None = None) -> F1MaxEstimate:
    metric = F1Max(len(probabilities), 0 if replicates is None else len(replicates))
    metric.update(probabilities, targets, replicates)
    return metric.compute()
