from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_matthews_corrcoef

from plmdepth.scores.class_scores import ClassScores, accuracy_of, class_counts, macro_accuracy_of, mcc_of
from tests.scores import references
from tests.scores.references import multiclass, repeated, weights
from tests.scores.values import accuracy, macro_accuracy, mcc

Score = Callable[[Tensor, Tensor], Tensor]
Reference = Callable[[Tensor, Tensor], float]
SCORES: list[tuple[Score, Reference]] = [
    (accuracy, references.accuracy),
    (macro_accuracy, references.macro_accuracy),
    (mcc, references.mcc),
]


@pytest.mark.parametrize(("score", "reference"), SCORES, ids=["accuracy", "macro_accuracy", "mcc"])
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(2, 5))
@settings(max_examples=25, deadline=None)
def test_they_are_the_scores_of_a_loop(
    score: Score, reference: Reference, seed: int, n_items: int, n_classes: int
) -> None:
    probabilities, labels = multiclass(2, n_items, n_classes, seed)
    expected = [reference(layer, labels) for layer in probabilities]
    assert score(probabilities, labels).tolist() == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_they_are_those_of_torchmetrics_if_every_class_occurs() -> None:
    probabilities, labels = multiclass(2, 400, 5)
    kind = {"num_classes": 5, "ignore_index": -1}
    for layer, right, macro, correlation in zip(
        probabilities, *(score(probabilities, labels) for score, _ in SCORES), strict=True
    ):
        torch.testing.assert_close(right.float(), multiclass_accuracy(layer, labels, average="micro", **kind))
        torch.testing.assert_close(macro.float(), multiclass_accuracy(layer, labels, average="macro", **kind))
        torch.testing.assert_close(correlation.float(), multiclass_matthews_corrcoef(layer, labels, **kind))


def test_an_absent_class_has_no_recall_even_if_it_is_predicted() -> None:
    probabilities = torch.eye(3)[[0, 1, 2, 1]][None]
    labels = torch.tensor([0, 1, 0, 1])
    assert macro_accuracy(probabilities, labels).item() == pytest.approx((0.5 + 1) / 2)
    assert multiclass_accuracy(probabilities[0], labels, 3).item() == pytest.approx(0.5)  # why it is not used


def test_with_all_residues_masked_everything_is_undefined() -> None:
    probabilities, labels = multiclass()
    for score, _ in SCORES:
        assert score(probabilities, torch.full_like(labels, -1)).isnan().all()
    metric = ClassScores(3, 4)
    metric.update(probabilities, torch.full_like(labels, -1))
    assert metric.compute().mcc.value.isnan().all()
    assert metric.n == 0


def test_perfect_opposite_and_constant_predictions() -> None:
    labels = torch.tensor([0, 1, 0, 1, 1])
    heads = torch.stack([torch.eye(2)[labels], torch.eye(2)[1 - labels], torch.tensor([[0.5, 0.5]] * 5)])
    assert accuracy(heads, labels).tolist() == pytest.approx([1, 0, 0.4])  # of equals, the lowest class
    assert macro_accuracy(heads, labels).tolist() == pytest.approx([1, 0, 0.5])
    assert mcc(heads, labels).tolist() == pytest.approx([1, -1, 0])


def test_labels_that_are_not_scored_change_nothing() -> None:
    probabilities, labels = multiclass()
    kept = labels >= 0
    assert 0 < kept.sum() < len(labels)
    for score, _ in SCORES:
        assert torch.equal(score(probabilities, labels), score(probabilities[:, kept], labels[kept]))


def test_batches_and_processes_change_nothing() -> None:
    probabilities, labels = multiclass(3, 40)
    segment = torch.arange(40) // 4  # ten proteins of four residues
    labels[8:12] = -1  # one of them without a label
    replicates = weights(10, 30)
    whole = ClassScores(3, 4, 30)
    whole.update(probabilities, labels, replicates, segment)
    parts = [ClassScores(3, 4, 30), ClassScores(3, 4, 30)]
    parts[0].update(probabilities[:, :12], labels[:12], replicates[:, :3], segment[:12])
    parts[1].update(probabilities[:, 12:], labels[12:], replicates[:, 3:], segment[12:] - 3)
    parts[0].sums += parts[1].sums
    parts[0].n += parts[1].n
    for mine, theirs in zip(parts[0].compute()[:3], whole.compute()[:3], strict=True):
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert whole.n == 9
    assert whole.compute().n_classes == 4
    torch.testing.assert_close(whole.compute().mcc.value, mcc(probabilities, labels))


def test_a_weight_counts_copies_of_a_protein_with_all_its_residues() -> None:
    probabilities, labels = multiclass(2, 40)
    segment = torch.arange(40) // 4
    replicates = weights(10, 6)
    metric = ClassScores(2, 4, 6)
    metric.update(probabilities, labels, replicates, segment)
    result = metric.compute()
    for row, weighting in enumerate(replicates):
        residues = torch.cat([torch.arange(4 * protein, 4 * protein + 4) for protein in repeated(weighting).tolist()])
        drawn = probabilities[:, residues], labels[residues]
        for (score, _), estimate in zip(SCORES, result[:3], strict=True):
            torch.testing.assert_close(estimate.replicates[row], score(*drawn))


def test_counts_of_the_proteins_add_up() -> None:
    probabilities, labels = multiclass(2, 30)
    counts = class_counts(probabilities, labels)
    assert counts.shape == (30, 2, 3, 4)
    total = counts.sum(0)
    assert torch.equal(total[0, 1], torch.bincount(labels[labels >= 0], minlength=4).double())
    assert (total[:, 2].sum(-1) == (labels >= 0).sum()).all()
    for of, (score, _) in zip((accuracy_of, macro_accuracy_of, mcc_of), SCORES, strict=True):
        assert torch.equal(of(total), score(probabilities, labels))


def test_a_planted_accuracy_is_found() -> None:
    labels = torch.arange(1000) % 4
    wrong = (labels + 1) % 4
    heads = torch.stack([torch.where(torch.arange(1000) < n, labels, wrong) for n in (250, 900)])
    assert accuracy(torch.eye(4)[heads], labels).tolist() == pytest.approx([0.25, 0.9])


def test_what_does_not_fit_is_refused() -> None:
    probabilities, labels = multiclass()
    with pytest.raises(ValueError, match="not logits"):
        accuracy(probabilities.log(), labels)
    with pytest.raises(ValueError, match="integers from -1"):
        mcc(probabilities, labels + 1)
    with pytest.raises(ValueError, match="fewer"):
        class_counts(probabilities, labels, n_segments=39)
    with pytest.raises(ValueError, match="layer"):
        ClassScores(3, 5).update(probabilities, labels)
