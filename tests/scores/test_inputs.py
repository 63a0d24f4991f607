import pytest
import torch

from plmdepth.scores.inputs import checked_finite, checked_labels, checked_probabilities, checked_targets

GOOD = torch.tensor([[[0.0, 1.0], [0.25, 0.75]]])


def test_probabilities_pass_unchanged() -> None:
    assert torch.equal(checked_probabilities(GOOD), GOOD)
    assert checked_probabilities(GOOD.double()).dtype is torch.float32
    assert checked_probabilities(GOOD.half()).dtype is torch.float32
    assert checked_probabilities(torch.zeros(2, 0, 3)).shape == (2, 0, 3)


@pytest.mark.parametrize("value", [-0.01, 1.01, 7.0])
def test_logits_are_refused(value: float) -> None:
    wrong = GOOD.clone()
    wrong[0, 1, 0] = value
    with pytest.raises(ValueError, match="not logits"):
        checked_probabilities(wrong)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    wrong = GOOD.clone()
    wrong[0, 1, 0] = value
    with pytest.raises(ValueError, match="not finite"):
        checked_probabilities(wrong)
    with pytest.raises(ValueError, match="loss are not finite"):
        checked_finite("loss", wrong)


def test_probabilities_of_one_layer_alone_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[layer, item, class\]"):
        checked_probabilities(GOOD[0])


def test_targets_are_zero_or_one_and_fit() -> None:
    assert checked_targets(GOOD, torch.tensor([[0, 1], [1.0, 0]])).tolist() == [[False, True], [True, False]]
    with pytest.raises(ValueError, match="0 or 1"):
        checked_targets(GOOD, torch.tensor([[0, -1], [1, 0]]))
    with pytest.raises(ValueError, match="fit"):
        checked_targets(GOOD, torch.zeros(3, 2))


def test_labels_are_classes_and_fit() -> None:
    assert checked_labels(GOOD, torch.tensor([-1, 1], dtype=torch.int16)).tolist() == [-1, 1]
    for wrong in (torch.tensor([0, 2]), torch.tensor([-2, 0]), torch.tensor([0.0, 1.0])):
        with pytest.raises(ValueError, match="integers from -1"):
            checked_labels(GOOD, wrong)
    with pytest.raises(ValueError, match="fit"):
        checked_labels(GOOD, torch.tensor([0]))
