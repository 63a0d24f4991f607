"""Pooled and residue features against loops over the states."""

import pytest
import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.probes.layerwise.features import check_pooling, pooled_states, residue_states, spelt
from tests.language_models.test_layer_stack import Recorder
from tests.stacks import MODELS, PROTEINS, stack_of

SEQUENCES = [protein.sequence for protein in PROTEINS]


def states_alone(family: str, sequence: str) -> Tensor:
    """Return all states of the residues of one protein without padding, ``[residue, layer, feature]``."""
    stack, recorder = stack_of(family), Recorder()
    tokens = spelt(stack, [sequence], "cpu")
    with torch.no_grad():
        stack.run(tokens, [recorder])
    return torch.stack([state[0][tokens.residues[0]] for state in recorder.states], dim=1)


@pytest.mark.parametrize("family", sorted(MODELS))
def test_the_mean_is_over_residues_alone(family: str) -> None:
    stack = stack_of(family)
    features = pooled_states(stack, spelt(stack, SEQUENCES, "cpu"), "mean")
    assert features.shape == (len(SEQUENCES), stack.n_layers + 1, stack.width)
    for mine, sequence in zip(features, SEQUENCES, strict=True):
        torch.testing.assert_close(mine, states_alone(family, sequence).mean(0), rtol=0, atol=2e-5)


def test_cls_is_the_first_token() -> None:
    stack, recorder = stack_of("esm2"), Recorder()
    tokens = spelt(stack, SEQUENCES, "cpu")
    with torch.no_grad():
        stack.run(tokens, [recorder])
    expected = torch.stack([state[:, 0] for state in recorder.states], dim=1)
    assert torch.equal(pooled_states(stack, tokens, "cls"), expected)


def test_residue_features_are_the_states_of_the_chosen_residues_in_order() -> None:
    stack = stack_of("esm2")
    tokens = spelt(stack, SEQUENCES, "cpu")
    features = residue_states(stack, tokens, tokens.residues)
    expected = torch.cat([states_alone("esm2", sequence) for sequence in SEQUENCES])
    torch.testing.assert_close(features, expected, rtol=0, atol=2e-5)


def test_a_causal_models_first_token_is_refused() -> None:
    check_pooling(stack_of("esm2"), "cls")
    with pytest.raises(InputError, match=r"probe\.pooling=cls .* use probe\.pooling=mean"):
        check_pooling(stack_of("progen2"), "cls")
