import pytest
import torch
from torch import Tensor

from plmdepth.interventions.descent import Rows, clean_descent
from plmdepth.language_models.layer_stack import LayerCall, LayerStack
from tests.stacks import EVERYWHERE, example_for, stack_of


@pytest.mark.parametrize("family", sorted(EVERYWHERE))
def test_many_rows_share_the_call_of_one_sequence(family: str) -> None:
    stack = stack_of(family)
    with torch.no_grad():
        descent = clean_descent(stack, example_for(stack).sequence(0).tokens)
        rows = torch.cat([descent.states[2] * scale for scale in (1.0, 0.5, 2.0)])
        together = Rows(stack, descent.call, most=2).apply(3, rows)
        for row, expected in zip(rows, together, strict=True):
            alone = stack.apply_layer(3, row[None], descent.call)[0]
            torch.testing.assert_close(expected, alone, rtol=0, atol=1e-5)


def test_a_padded_batch_is_refused() -> None:
    stack = stack_of("esm2")
    with pytest.raises(ValueError, match="one sequence without padding"):
        clean_descent(stack, example_for(stack).tokens)


def test_running_out_of_memory_halves_the_chunk_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of("esm2")
    descent = clean_descent(stack, example_for(stack).sequence(0).tokens)
    states = torch.cat([descent.states[0]] * 7)
    expected = Rows(stack, descent.call, most=7).apply(1, states)
    original = LayerStack.apply_layer

    def small(self: LayerStack, layer: int, chunk: Tensor, call: LayerCall) -> Tensor:
        if len(chunk) > 2:
            raise torch.OutOfMemoryError("too large")
        return original(self, layer, chunk, call)

    monkeypatch.setattr(LayerStack, "apply_layer", small)
    rows = Rows(stack, descent.call, most=8)
    torch.testing.assert_close(rows.apply(1, states), expected, rtol=0, atol=1e-5)
    assert rows.most == 2
