import pytest
import torch

from plmdepth.metrics.logit_lens import LogitLens
from plmdepth.metrics.metric import Suite
from plmdepth.metrics.residual import Residual
from tests.stacks import EVERYWHERE, example_for, stack_of


@pytest.mark.parametrize("family", sorted(EVERYWHERE))
def test_a_suite_measures_what_its_metrics_measure_alone(family: str) -> None:
    stack = stack_of(family)
    example = example_for(stack)
    lens, residual = LogitLens(), Residual()
    together = Suite({"logit_lens": lens, "residual": residual}).measure(stack, example).curves
    alone = torch.cat([lens.measure(stack, example).curves, residual.measure(stack, example).curves], dim=1)
    assert torch.equal(together.nan_to_num(nan=-7.0), alone.nan_to_num(nan=-7.0))


def test_a_suite_needs_one_forward_pass() -> None:
    stack, calls = stack_of("esm2"), []
    stack.anatomy.layers[0].register_forward_hook(lambda *_: calls.append(1))
    Suite({"logit_lens": LogitLens(), "residual": Residual()}).measure(stack, example_for(stack))
    assert len(calls) == 1


@pytest.mark.parametrize("metric", [LogitLens(), Residual()])
def test_every_value_lies_within_the_bounds_of_its_quantity(metric: LogitLens | Residual) -> None:
    stack = stack_of("esm2")
    values = metric.measure(stack, example_for(stack)).curves
    for index, quantity in enumerate(metric.quantities):
        known = values[:, index, quantity.first_layer :]
        low, high = quantity.bounds
        assert not known.isnan().any()
        assert ((known >= low) & (known <= high)).all(), quantity
        assert values[:, index, : quantity.first_layer].isnan().all()
