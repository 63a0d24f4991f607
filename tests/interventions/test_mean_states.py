"""The mean state against the model's own states, and against every way to batch the data."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.interventions.mean_states import mean_states
from plmdepth.language_models.layer_stack import LayerStack, NonFiniteStateError
from plmdepth.objectives.objective import Example
from tests.calls import readers
from tests.recorder import hooks_of
from tests.stacks import EVERYWHERE, PROTEINS, example_for, own_forward, stack_of

FAMILIES = sorted(EVERYWHERE)


def states_of(stack: LayerStack, example: Example) -> list[Tensor]:
    """Return ``h_0 .. h_L`` of one sequence from the model's own forward pass."""
    states: list[Tensor] = []
    hooks = [part.register_forward_pre_hook(lambda _, args: states.append(args[0][0])) for part in readers(stack)]
    own_forward(stack, example.tokens)
    for hook in hooks:
        hook.remove()
    return states


def naive(stack: LayerStack, example: Example) -> Tensor:
    """Mean over a list of the states of all residues, one sequence at a time."""
    found: list[list[Tensor]] = [[] for _ in range(stack.n_layers + 1)]
    for row in range(len(example.targets)):
        alone = example.sequence(row)
        for layer, state in enumerate(states_of(stack, alone)):
            found[layer] += [state[i].double() for i in alone.tokens.residues[0].nonzero()[:, 0].tolist()]
    return torch.stack([torch.stack(residues).mean(0) for residues in found])


@pytest.mark.parametrize("family", [*FAMILIES, "prot_albert", "prot_xlnet"])
def test_a_padded_batch_gives_the_mean_over_its_residues(family: str) -> None:
    stack = stack_of(family)
    means = mean_states(stack, [example_for(stack)])
    assert means.shape == (7, 32)
    assert means.dtype == torch.float64
    torch.testing.assert_close(means, naive(stack, example_for(stack)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("groups", [[(0,), (1,), (2,)], [(1, 0), (2,)], [(2, 1), (0,)]])
def test_neither_batches_nor_padding_nor_order_change_it(family: str, groups: list[tuple[int, ...]]) -> None:
    stack = stack_of(family)
    batches = [example_for(stack, tuple(PROTEINS[index] for index in group)) for group in groups]
    torch.testing.assert_close(
        mean_states(stack, batches), mean_states(stack, [example_for(stack)]), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_what_padding_and_special_tokens_hold_does_not_enter(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of(family)
    example = example_for(stack)
    clean = mean_states(stack, [example])
    original = LayerStack.apply_layer

    def spoiled(self: LayerStack, layer: int, state: Tensor, *rest: object) -> Tensor:
        output = original(self, layer, state, *rest)
        if layer < self.n_layers:  # the last layer alone: nothing reads what it leaves
            return output
        return torch.where(example.tokens.residues[..., None], output, 1e6)

    monkeypatch.setattr(LayerStack, "apply_layer", spoiled)
    assert torch.equal(mean_states(stack, [example]), clean)


def test_long_and_short_proteins_count_by_their_residues() -> None:
    stack = stack_of("esm2")
    each = [mean_states(stack, [example_for(stack).sequence(row)]) for row in range(3)]
    lengths = [len(protein) for protein in PROTEINS]
    expected = sum(n * mean for n, mean in zip(lengths, each, strict=True)) / sum(lengths)
    torch.testing.assert_close(mean_states(stack, [example_for(stack)]), expected, rtol=1e-5, atol=1e-6)


def test_batches_stream_through_one_at_a_time() -> None:
    stack, alive = stack_of("esm2"), []

    def stream() -> Iterator[Example]:
        for row in range(3):
            alive.append(row)
            yield example_for(stack).sequence(row)
            alive.remove(row)
            assert not alive

    mean_states(stack, stream())
    assert hooks_of(stack) == 0


def test_sums_are_exact_where_single_precision_would_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    """2^24 + 1 does not exist in single precision: a float sum would lose every second residue."""
    stack, example = stack_of("esm2"), example_for(stack_of("esm2")).sequence(0)
    large = torch.ones(example.tokens.ids.shape[1], 32)
    large[1] = 2.0**24  # the first residue
    monkeypatch.setattr(LayerStack, "apply_layer", lambda self, layer, state, call: large[None])
    n_residues = len(PROTEINS[0])
    expected = (2.0**24 + n_residues - 1) / n_residues
    assert (mean_states(stack, [example])[1:] == expected).all()


def test_data_without_residues_are_refused() -> None:
    stack = stack_of("esm2")
    example = example_for(stack)
    tokens = replace(example.tokens, residues=torch.zeros_like(example.tokens.residues))
    for empty in ([], [replace(example, tokens=tokens)]):
        with pytest.raises(InputError, match="holds none"):
            mean_states(stack, empty)


def test_a_state_that_is_not_finite_names_its_layer() -> None:
    stack = stack_of("esm2")
    with torch.no_grad():
        stack.anatomy.mlp_outputs[1].bias[0] = torch.nan
    with pytest.raises(NonFiniteStateError, match="after layer 2"):
        mean_states(stack, [example_for(stack)])
