import math

import torch

from plmdepth.metrics.averages import masked_mean, segment_mean


def test_segment_mean_equals_a_loop_over_sequences() -> None:
    values = torch.randn(3, 10)
    segment = torch.tensor([0, 0, 0, 1, 1, 3, 3, 3, 3, 3])
    result = segment_mean(values, segment, 4)
    for sequence in (0, 1, 3):
        expected = values[:, segment == sequence].double().mean(1)
        torch.testing.assert_close(result[:, sequence], expected)
    assert result[:, 2].isnan().all()


def test_masked_mean_ignores_whatever_lies_outside_the_mask() -> None:
    values = torch.tensor([[1.0, math.nan, 3.0, math.inf]])
    mask = torch.tensor([[True, False, True, False]])
    assert masked_mean(values, mask).tolist() == [2.0]


def test_masked_mean_of_nothing_is_undefined() -> None:
    assert masked_mean(torch.ones(1, 2), torch.zeros(1, 2, dtype=torch.bool)).isnan().all()
