import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plmdepth.scores import average_precision
from plmdepth.scores.average_precision import AveragePrecision, auprc_micro, weighted_auprc_micro
from tests.scores import references
from tests.scores.references import multilabel, repeated, weights


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 4), st.sampled_from([3, 1000]))
@settings(max_examples=25, deadline=None)
def test_both_are_the_scores_of_a_loop(seed: int, n_proteins: int, n_terms: int, grid: int) -> None:
    probabilities, targets = multilabel(2, n_proteins, n_terms, seed, grid)
    micro = [references.auprc_micro(layer, targets) for layer in probabilities]
    assert auprc_micro(probabilities, targets).tolist() == pytest.approx(micro, rel=1e-5, nan_ok=True)
    ones = torch.ones(1, n_proteins)
    assert weighted_auprc_micro(probabilities, targets, ones)[0].tolist() == pytest.approx(micro, 1e-5, nan_ok=True)


def test_without_any_positive_both_are_undefined() -> None:
    probabilities, targets = multilabel()
    nothing = torch.zeros_like(targets)
    assert auprc_micro(probabilities, nothing).isnan().all()
    assert weighted_auprc_micro(probabilities, nothing, torch.ones(2, 12)).isnan().all()


def test_a_perfect_head_has_one_and_a_constant_head_the_share_of_positives() -> None:
    _, targets = multilabel()
    heads = torch.stack([targets.float(), torch.full((12, 5), 0.4)])
    assert auprc_micro(heads, targets).tolist() == pytest.approx([1.0, targets.float().mean().item()])


@pytest.mark.parametrize("block", [1, 3, 2048])
def test_a_weight_counts_copies(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(average_precision, "_BLOCK", block)
    probabilities, targets = multilabel(2, 11)
    replicates = weights(11, 8)
    micro = weighted_auprc_micro(probabilities, targets, replicates)
    for row, weighting in enumerate(replicates):
        copies = repeated(weighting)
        for layer in range(2):
            drawn = probabilities[layer, copies], targets[copies]
            assert micro[row, layer].item() == pytest.approx(references.auprc_micro(*drawn), rel=1e-5)


def test_order_and_batches_change_nothing() -> None:
    probabilities, targets = multilabel(3, 13)
    replicates = weights(13, 20)
    order = torch.randperm(13, generator=torch.Generator().manual_seed(0))
    metric = AveragePrecision(20)
    for rows in (order[:4], order[4:5], order[5:]):
        metric.update(probabilities[:, rows], targets[rows], replicates[:, rows])
    result = metric.compute()
    torch.testing.assert_close(result.value, auprc_micro(probabilities, targets))
    expected = weighted_auprc_micro(probabilities, targets, replicates)
    torch.testing.assert_close(result.replicates, expected, rtol=1e-5, atol=1e-6)
    assert (result.low < result.value).all()
    assert (result.value < result.high).all()


def test_without_replicates_there_is_no_interval() -> None:
    metric = AveragePrecision()
    metric.update(*multilabel())
    result = metric.compute()
    assert result.low.isnan().all()
    assert result.replicates.shape == (0, 3)


def test_two_processes_join_their_columns() -> None:
    probabilities, targets = multilabel(3, 10)
    parts = [AveragePrecision(), AveragePrecision()]
    parts[0].update(probabilities[:, :4], targets[:4])
    parts[1].update(probabilities[:, 4:], targets[4:])
    merged = AveragePrecision()
    for column in merged.columns:  # what torchmetrics gathers: one tensor for all processes
        setattr(merged, column, torch.cat([getattr(part, column)[0] for part in parts]))
    merged._update_count = 2


def test_memory_is_bounded() -> None:
    probabilities, targets = multilabel()
    metric = AveragePrecision(memory=12 * 5 * (4 * 3 + 1))
    metric.update(probabilities, targets)
    with pytest.raises(ValueError, match="bytes of predictions"):
        metric.update(probabilities[:, :1], targets[:1])


def test_logits_are_refused() -> None:
    probabilities, targets = multilabel()
    for score in (auprc_micro, AveragePrecision().update):
        with pytest.raises(ValueError, match="not logits"):
            score(probabilities * 2, targets)
