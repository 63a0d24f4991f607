"""Pooled and residue features against loops over the states."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import NonFiniteStateError
from plmdepth.language_models.spelling.pieces import PieceSpelling
from plmdepth.probes.layerwise.features import check_pooling, pooled_states, residue_states, spelt
from plmdepth.proteins.protein import CANONICAL
from tests.recorder import Recorder
from tests.stacks import EVERYWHERE, PROTEINS, stack_of

SEQUENCES = [protein.sequence for protein in PROTEINS]


def states_alone(family: str, sequence: str) -> Tensor:
    """Return all states of the residues of one protein without padding, ``[residue, layer, feature]``."""
    stack, recorder = stack_of(family), Recorder()
    tokens = spelt(stack, [sequence], "cpu")
    with torch.no_grad():
        stack.run(tokens, [recorder])
    return torch.stack([state[0][tokens.residues[0]] for state in recorder.states], dim=1)


@pytest.mark.parametrize("family", sorted(EVERYWHERE))
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


def test_residue_features_are_the_states_of_all_residues_in_order() -> None:
    stack = stack_of("esm2")
    tokens = spelt(stack, SEQUENCES, "cpu")
    features = residue_states(stack, tokens)
    expected = torch.cat([states_alone("esm2", sequence) for sequence in SEQUENCES])
    torch.testing.assert_close(features, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("layers", [(2,), (0, 3, 6)])
def test_of_chosen_layers_no_other_is_read_and_none_is_run_beyond_the_last(layers: tuple[int, ...]) -> None:
    stack = stack_of("esm2")
    tokens = spelt(stack, SEQUENCES, "cpu")
    every = pooled_states(stack, tokens, "mean"), residue_states(stack, tokens)
    ran: list[int] = []
    for number, layer in enumerate(stack.anatomy.layers, start=1):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    assert torch.equal(pooled_states(stack, tokens, "mean", layers), every[0][:, list(layers)])
    assert ran == list(range(1, layers[-1] + 1))
    assert torch.equal(residue_states(stack, tokens, layers), every[1][:, list(layers)])


def test_a_protein_that_is_spelt_backwards_is_read_forwards() -> None:
    stack = stack_of("progen2_reverse")
    tokens = spelt(stack, SEQUENCES[:2], "cpu")
    features = residue_states(stack, tokens, (0,))
    embedded, _ = stack.embed(tokens)
    forwards = [embedded[row][tokens.residues[row]].flip(0) for row in range(2)]
    torch.testing.assert_close(features[:, 0], torch.cat(forwards))


class Pairs:
    """Spells two residues in a token, and a last one alone."""

    def get_vocab(self) -> dict[str, int]:
        pieces = ["\n", *CANONICAL, *(one + other for one in CANONICAL for other in CANONICAL)]
        return {piece: index for index, piece in enumerate(pieces)}

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        known = self.get_vocab()
        return [known[text[start : start + 2]] for start in range(0, len(text), 2)]


def test_a_piece_of_several_residues_is_read_for_each() -> None:
    plain = stack_of("protgpt2")
    ends = {"prefix": (0,), "suffix": (0,), "pad": 0, "mask": None}
    spelling = PieceSpelling(letters=plain.spelling.letters, tokenizer=Pairs(), line=60, **ends)  # type: ignore[arg-type]
    stack = replace(plain, spelling=spelling)
    features = residue_states(stack, spelt(stack, ["MKTAY", "AL"], "cpu"))
    assert len(features) == 7
    for first, second in ((0, 1), (2, 3), (5, 6)):
        assert torch.equal(features[first], features[second])
    assert not torch.equal(features[1], features[2])
    with pytest.raises(InputError, match=r"probe\.pooling=attention weighs residues, .* several at once; use mean"):
        check_pooling(stack, "attention")


def test_a_state_that_is_not_finite_is_named_by_its_layer() -> None:
    stack = stack_of("esm2")
    stack.anatomy.mlp_outputs[3].bias.data.fill_(torch.nan)
    with pytest.raises(NonFiniteStateError, match="the state after layer 4 holds NaN"):
        pooled_states(stack, spelt(stack, SEQUENCES, "cpu"), "mean", (2, 4))


def test_a_causal_models_first_token_is_refused() -> None:
    check_pooling(stack_of("esm2"), "cls")
    with pytest.raises(InputError, match=r"probe\.pooling=cls .* use probe\.pooling=mean"):
        check_pooling(stack_of("progen2"), "cls")
