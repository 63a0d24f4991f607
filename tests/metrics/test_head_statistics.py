import math

import numpy as np
import pytest
import torch
from torch import Tensor

from plmdepth.metrics.head_statistics import RATIO_EDGES, HeadStatistics
from plmdepth.metrics.metric import N_GROUPS

N, HEADS, LAYERS = 60, 3, 5


def values(n: int = N, seed: int = 0, sizes: tuple[float, ...] = (0.7, 2.0, 1.0, 0.5)) -> Tensor:
    """Return ``[input, head, layer]`` with planted standard deviations by input, layer, head within layer, and rest."""
    draw = np.random.default_rng(seed).normal
    by_input, by_layer, by_head, rest = sizes
    return torch.from_numpy(
        draw(0, by_input, (n, 1, 1))
        + draw(0, by_layer, (1, 1, LAYERS))
        + draw(0, by_head, (1, HEADS, LAYERS))
        + draw(0, rest, (n, HEADS, LAYERS))
        + 0.4
    )


def of(x: Tensor, groups: Tensor, step: int = 7) -> HeadStatistics:
    """Return statistics of values that came in batches."""
    statistics = HeadStatistics(x.shape[1], x.shape[2], lambda curves: curves)
    for start in range(0, len(x), step):
        statistics.update(x[start : start + step], groups[start : start + step])
    return statistics


def test_the_spread_is_the_variance_along_an_axis_averaged_over_the_others_in_each_group() -> None:
    x, groups = values(), torch.arange(N) % N_GROUPS
    found = of(x, groups).compute()
    for axis, name in enumerate(("input", "head", "layer")):
        expected = [np.var(x[groups == group].numpy(), axis=axis, ddof=1).mean() for group in range(N_GROUPS)]
        assert found[f"log_ratio_variance_by_{name}"] == pytest.approx(np.mean(expected))
        assert found[f"log_ratio_variance_by_{name}_sd"] == pytest.approx(np.std(expected, ddof=1))


def components(x: np.ndarray) -> dict[str, float]:
    """Return the components from mean squares written out over every value."""
    n, heads, layers = x.shape
    mean, by_input, by_layer, cell = x.mean(), x.mean((1, 2)), x.mean((0, 1)), x.mean(0)
    squares = dict.fromkeys(("input", "layer", "head", "rest"), 0.0)
    for i in range(n):
        for h in range(heads):
            for k in range(layers):
                squares["input"] += (by_input[i] - mean) ** 2 / (n - 1)
                squares["layer"] += (by_layer[k] - mean) ** 2 / (layers - 1)
                squares["head"] += (cell[h, k] - by_layer[k]) ** 2 / (layers * (heads - 1))
                rest = x[i, h, k] - by_input[i] - cell[h, k] + mean
                squares["rest"] += rest**2 / ((n - 1) * (heads * layers - 1))
    return {
        "input": (squares["input"] - squares["rest"]) / (heads * layers),
        "layer": (squares["layer"] - squares["head"]) / (n * heads),
        "head": (squares["head"] - squares["rest"]) / n,
        "rest": squares["rest"],
    }


def test_components_are_those_of_the_method_of_moments() -> None:
    x = values()
    found = of(x, torch.arange(N) % N_GROUPS).compute()
    for name, expected in components(x.numpy()).items():
        assert found[f"log_ratio_component_{name}"] == pytest.approx(max(expected, 0)), name


def test_planted_components_are_found_on_average() -> None:
    planted = {"input": 0.49, "layer": 4.0, "head": 1.0, "rest": 0.25}
    draws = [of(values(30, seed), torch.arange(30) % N_GROUPS).compute() for seed in range(300)]
    for name, variance in planted.items():
        found = [draw[f"log_ratio_component_{name}"] for draw in draws]
        assert np.mean(found) == pytest.approx(variance, abs=4 * np.std(found) / math.sqrt(len(found))), name


def test_a_component_alone_takes_all() -> None:
    for index, name in enumerate(("input", "layer", "head", "rest")):
        sizes = tuple(float(index == other) for other in range(4))
        found = of(values(400, sizes=sizes), torch.arange(400) % N_GROUPS).compute()
        others = [value for key, value in found.items() if "component" in key and not key.endswith(name)]
        assert max(others) < 0.05 * found[f"log_ratio_component_{name}"]


def test_neither_batches_nor_order_change_anything() -> None:
    x, groups = values(), torch.arange(N) % N_GROUPS
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    one, other = of(x, groups), of(x[order], groups[order], step=11)
    assert one.compute() == pytest.approx(other.compute())
    assert torch.equal(one.histogram, other.histogram)


def test_a_sequence_without_a_value_for_every_head_does_not_count() -> None:
    x, groups = values(), torch.arange(N) % N_GROUPS
    holed = torch.cat([x, values(10, seed=9)])
    holed[N:, 1, 2] = torch.nan
    assert of(holed, torch.cat([groups, torch.arange(10)])).compute() == pytest.approx(of(x, groups).compute())


def test_too_few_inputs_leave_variances_undefined() -> None:
    found = of(values(3), torch.arange(3)).compute()
    assert math.isnan(found["log_ratio_variance_by_input"])
    assert found["log_ratio_variance_by_layer"] > 0


def test_ratios_are_counted_by_layer_and_the_ends_hold_what_lies_beyond() -> None:
    edges = RATIO_EDGES
    ratios = torch.tensor([1e-9, float(edges[3]), float(edges[3]) * 1.01, 1e9], dtype=torch.float64)
    counts = of(ratios.log()[:, None, None].expand(4, 1, 2), torch.arange(4)).histogram
    assert counts.shape == (2, len(edges) - 1)
    assert counts.sum(1).tolist() == [4, 4]
    assert counts[0].nonzero()[:, 0].tolist() == [0, 3, len(edges) - 2]
