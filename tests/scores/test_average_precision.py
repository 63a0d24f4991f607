import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plmdepth.scores import weighted_precision
from plmdepth.scores.average_precision import AveragePrecision, auprc_macro, auprc_micro
from plmdepth.scores.weighted_precision import weighted_auprc_macro, weighted_auprc_micro
from tests.scores import references
from tests.scores.references import multilabel, repeated, weights


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 4), st.sampled_from([3, 1000]))
@settings(max_examples=25, deadline=None)
def test_both_are_the_scores_of_a_loop(seed: int, n_proteins: int, n_terms: int, grid: int) -> None:
    probabilities, targets = multilabel(2, n_proteins, n_terms, seed, grid)
    micro = [references.auprc_micro(layer, targets) for layer in probabilities]
    macro = [references.auprc_macro(layer, targets) for layer in probabilities]
    assert auprc_micro(probabilities, targets).tolist() == pytest.approx(micro, rel=1e-5, nan_ok=True)
    assert auprc_macro(probabilities, targets).value.tolist() == pytest.approx(macro, rel=1e-5, nan_ok=True)
    ones = torch.ones(1, n_proteins)
    assert weighted_auprc_micro(probabilities, targets, ones)[0].tolist() == pytest.approx(micro, 1e-5, nan_ok=True)
    assert weighted_auprc_macro(probabilities, targets, ones)[0].tolist() == pytest.approx(macro, 1e-5, nan_ok=True)


def test_a_term_without_positives_is_left_out_and_counted() -> None:
    probabilities = torch.tensor([[[0.9, 0.5, 0.3], [0.1, 0.7, 0.8], [0.2, 0.6, 0.1]]])
    targets = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    with warnings.catch_warnings(action="error"):
        result = auprc_macro(probabilities, targets)
    assert result.value.item() == 1.0  # not 2/3
    assert result.n_left_out == 1


def test_without_any_positive_both_are_undefined() -> None:
    probabilities, targets = multilabel()
    nothing = torch.zeros_like(targets)
    assert auprc_micro(probabilities, nothing).isnan().all()
    assert auprc_macro(probabilities, nothing).value.isnan().all()
    assert auprc_macro(probabilities, nothing).n_left_out == 5
    assert weighted_auprc_micro(probabilities, nothing, torch.ones(2, 12)).isnan().all()
    assert weighted_auprc_macro(probabilities, nothing, torch.ones(2, 12)).isnan().all()


def test_a_perfect_head_has_one_and_a_constant_head_the_share_of_positives() -> None:
    _, targets = multilabel()
    heads = torch.stack([targets.float(), torch.full((12, 5), 0.4)])
    assert auprc_micro(heads, targets).tolist() == pytest.approx([1.0, targets.float().mean().item()])
    by_term = targets[:, targets.any(0)].float().mean(0)
    assert auprc_macro(heads, targets).value.tolist() == pytest.approx([1.0, by_term.mean().item()])


def test_macro_asks_for_an_order_within_terms_only() -> None:
    targets = torch.tensor([[1, 0], [0, 1]])
    probabilities = torch.tensor([[[0.2, 0.8], [0.1, 0.9]]])  # the second term is rated higher throughout
    assert auprc_macro(probabilities, targets).value.item() == 1
    assert auprc_micro(probabilities, targets).item() == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("block", [1, 3, 2048])
def test_a_weight_counts_copies(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weighted_precision, "_BLOCK", block)
    probabilities, targets = multilabel(2, 11)
    replicates = weights(11, 8)
    micro = weighted_auprc_micro(probabilities, targets, replicates)
    macro = weighted_auprc_macro(probabilities, targets, replicates)
    for row, weighting in enumerate(replicates):
        copies = repeated(weighting)
        for layer in range(2):
            drawn = probabilities[layer, copies], targets[copies]
            assert micro[row, layer].item() == pytest.approx(references.auprc_micro(*drawn), rel=1e-5)
            assert macro[row, layer].item() == pytest.approx(references.auprc_macro(*drawn), rel=1e-5)


def test_a_replicate_in_which_a_term_loses_its_positives_leaves_the_term_out() -> None:
    probabilities = torch.tensor([[[0.9, 0.5], [0.1, 0.4], [0.2, 0.6]]])
    targets = torch.tensor([[1, 0], [0, 1], [1, 0]])
    rows = weighted_auprc_macro(probabilities, targets, torch.tensor([[1.0, 1, 1], [1, 0, 1], [0, 0, 0]]))
    assert rows[:2, 0].tolist() == pytest.approx([(1 + 1 / 3) / 2, 1.0])
    assert math.isnan(rows[2, 0])


def test_order_and_batches_change_nothing() -> None:
    probabilities, targets = multilabel(3, 13)
    replicates = weights(13, 20)
    order = torch.randperm(13, generator=torch.Generator().manual_seed(0))
    metric = AveragePrecision(20)
    for rows in (order[:4], order[4:5], order[5:]):
        metric.update(probabilities[:, rows], targets[rows], replicates[:, rows])
    result = metric.compute()
    assert result.n_left_out == 1
    torch.testing.assert_close(result.micro.value, auprc_micro(probabilities, targets))
    torch.testing.assert_close(result.macro.value, auprc_macro(probabilities, targets).value)
    expected = weighted_auprc_micro(probabilities, targets, replicates)
    torch.testing.assert_close(result.micro.replicates, expected, rtol=1e-5, atol=1e-6)
    assert (result.micro.low < result.micro.value).all()
    assert (result.micro.value < result.micro.high).all()
    assert (result.macro.n == 13).all()


def test_without_replicates_there_is_no_interval() -> None:
    metric = AveragePrecision()
    metric.update(*multilabel())
    result = metric.compute()
    assert result.micro.low.isnan().all()
    assert result.micro.replicates.shape == (0, 3)


def test_two_processes_join_their_columns() -> None:
    probabilities, targets = multilabel(3, 10)
    parts = [AveragePrecision(), AveragePrecision()]
    parts[0].update(probabilities[:, :4], targets[:4])
    parts[1].update(probabilities[:, 4:], targets[4:])
    merged = AveragePrecision()
    for column in merged.columns:  # what torchmetrics gathers: one tensor for all processes
        setattr(merged, column, torch.cat([getattr(part, column)[0] for part in parts]))
    merged._update_count = 2
    torch.testing.assert_close(merged.compute().macro.value, auprc_macro(probabilities, targets).value)


def test_memory_is_bounded() -> None:
    probabilities, targets = multilabel()
    metric = AveragePrecision(memory=12 * 5 * (4 * 3 + 1))
    metric.update(probabilities, targets)
    with pytest.raises(ValueError, match="bytes of predictions"):
        metric.update(probabilities[:, :1], targets[:1])


def test_logits_are_refused() -> None:
    probabilities, targets = multilabel()
    for score in (auprc_micro, auprc_macro, AveragePrecision().update):
        with pytest.raises(ValueError, match="not logits"):
            score(probabilities * 2, targets)
