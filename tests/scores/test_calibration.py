import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from plmdepth.scores.calibration import (
    predicted_class,
    predicted_terms,
    reliability_curve,
)
from tests.scores.references import multiclass, multilabel


def test_the_curve_is_that_of_a_loop() -> None:
    probability, outcome = predicted_terms(*multilabel(2, 40, 6, grid=1000))
    result = reliability_curve(probability, outcome, 7)
    for layer in range(2):
        error = 0.0
        for place in range(7):
            chosen = [
                (p, bool(true))
                for p, true in zip(probability[layer].double().tolist(), outcome[layer], strict=True)
                if place / 7 <= p < (place + 1) / 7 or (place == 6 and p == 1)
            ]
            assert result.n[layer, place] == len(chosen)
            if chosen:
                said, came = (sum(side) / len(chosen) for side in zip(*chosen, strict=True))
                assert result.probability[layer, place].item() == pytest.approx(said)
                assert result.frequency[layer, place].item() == pytest.approx(came)
                error += len(chosen) / probability.shape[1] * abs(said - came)
            else:
                assert result.frequency[layer, place].isnan()
        assert result.error[layer].item() == pytest.approx(error)


def test_the_error_is_that_of_torchmetrics() -> None:
    probabilities, labels = multiclass(2, 300)
    result = reliability_curve(*predicted_class(probabilities, labels), 10)
    for layer, error in zip(probabilities, result.error, strict=True):
        theirs = multiclass_calibration_error(layer, labels, 4, n_bins=10, ignore_index=-1)
        assert error.item() == pytest.approx(theirs.item(), rel=1e-5)
    probability, outcome = predicted_terms(*multilabel(2, 40, 6, grid=1000))
    result = reliability_curve(probability, outcome, 10)
    for said, came, error in zip(probability, outcome, result.error, strict=True):
        assert error.item() == pytest.approx(binary_calibration_error(said, came.long(), 10).item(), rel=1e-5)


def test_edges_belong_to_the_bin_above_and_one_to_the_last() -> None:
    said = torch.tensor([[0.0, 0.25, 0.5, 0.75, 1.0]])
    assert reliability_curve(said, said > 0.4, 4).n.tolist() == [[1, 1, 1, 2]]


def test_an_honest_head_has_no_error_and_a_boaster_has() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(1, 20_000, generator=generator)
    outcome = (torch.rand(1, 20_000, generator=generator) < truth).expand(2, -1)
    heads = torch.cat([truth, (truth > 0.5).float()])
    error = reliability_curve(heads, outcome).error.tolist()
    assert error[0] < 0.02
    assert error[1] == pytest.approx(0.25, abs=0.02)


def test_only_items_with_a_label_count() -> None:
    probabilities, labels = multiclass()
    probability, right = predicted_class(probabilities, labels)
    assert probability.shape == right.shape == (3, int((labels >= 0).sum()))
    nothing = reliability_curve(*predicted_class(probabilities, torch.full_like(labels, -1)))
    assert nothing.error.isnan().all()


def test_what_does_not_fit_is_refused() -> None:
    probability, outcome = predicted_terms(*multilabel())
    with pytest.raises(ValueError, match="not logits"):
        reliability_curve(probability + 1, outcome)
    with pytest.raises(ValueError, match="do not fit"):
        reliability_curve(probability, outcome[:, :4])
