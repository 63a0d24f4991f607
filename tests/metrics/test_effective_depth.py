import pytest
import torch

from plmdepth.metrics.effective_depth import first_layer_above, first_layer_below_half, last_turn_to_positive

NAN = torch.nan


@pytest.mark.parametrize(
    ("curve", "layer"),
    [
        ([4.0, 3.0, 2.0, 1.9, 0.0], 3.0),  # half of the maximum itself is not below half
        ([1.0, 4.0, 3.0, 1.0, 0.0], 0.0),
        ([0.0, 0.0, 0.0], 0.0),  # nothing left to do
        ([2.0, 2.0, 2.0], NAN),
    ],
)
def test_kl_depth(curve: list[float], layer: float) -> None:
    torch.testing.assert_close(
        first_layer_below_half(torch.tensor(curve)), torch.tensor(layer, dtype=torch.float64), equal_nan=True
    )


@pytest.mark.parametrize(("curve", "layer"), [([0.1, 0.2, 0.3, 0.1], 2.0), ([0.1, 0.1], NAN)])
def test_overlap_depth(curve: list[float], layer: float) -> None:
    result = first_layer_above(torch.tensor(curve), 0.2)
    torch.testing.assert_close(result, torch.tensor(layer, dtype=torch.float64), equal_nan=True)


@pytest.mark.parametrize(
    ("curve", "layer"),
    [
        ([NAN, -0.2, -0.1, 0.0, 0.3], 3.0),
        ([NAN, -0.2, 0.1, -0.1, 0.3], 4.0),
        ([NAN, 0.2, 0.1], NAN),
        ([NAN, -0.2, NAN, 0.1], NAN),  # a dead layer between takes part in no turn
    ],
)
def test_cosine_depth(curve: list[float], layer: float) -> None:
    result = last_turn_to_positive(torch.tensor(curve))
    torch.testing.assert_close(result, torch.tensor(layer, dtype=torch.float64), equal_nan=True)


def test_depths_are_taken_curve_by_curve() -> None:
    curves = torch.tensor([[4.0, 1.0, 0.0], [4.0, 3.0, 0.0]])
    assert first_layer_below_half(curves).tolist() == [1.0, 2.0]
