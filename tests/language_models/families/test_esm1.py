"""ESM-1b and ESM-1v: absolute positions, and a norm that only one of them has.

Their states and logits are held to fair-esm's own in tests/language_models/checkpoints/test_fair_esm.py.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from plmdepth.errors import InputError
from plmdepth.language_models.families.esm1 import ESM1
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack
from tests.family_case import SIZE, FamilyCase
from tests.stacks import ALL, PROTEINS, example_for, stack_of

FAMILY = FamilyCase(
    miniatures={
        "esm1b": ESM1(name="esm1b", family="esm1b", objective="masked", embedding_norm=True, **SIZE),
        "esm1v": ESM1(name="esm1v", family="esm1v", objective="masked", embedding_norm=False, **SIZE),
    },
    values=("attention.self.value", 1),
    # as many as fair-esm's own ProteinBertModel has at this size
    parameters={"esm1b_650m": 652_359_094, **{f"esm1v_650m_{number}": 652_356_534 for number in range(1, 6)}},
)

PAD = 1


def embeddings_of(stack: LayerStack) -> Any:
    module: Any = stack.module
    return module.esm.embeddings


@pytest.mark.parametrize("family", ["esm1b", "esm1v"])
def test_positions_count_from_the_first_token_whatever_the_padding(family: str) -> None:
    stack = stack_of(family)
    embeddings, example = embeddings_of(stack), example_for(stack)
    tokens = example.tokens
    with torch.no_grad():
        state, _ = stack.embed(tokens)
        words = embeddings.word_embeddings.weight[tokens.ids].masked_fill(example.scored[..., None], 0)
        masked = example.scored.sum(1) / tokens.attended.sum(1)
        expected = words * (0.88 / (1 - masked))[:, None, None]
        expected = expected + embeddings.position_embeddings.weight[PAD + 1 :][: tokens.ids.shape[1]]
        expected = embeddings.layer_norm(expected) if family == "esm1b" else expected
    torch.testing.assert_close(state[tokens.attended], expected[tokens.attended], rtol=1e-5, atol=1e-5)
    assert state[~tokens.attended].abs().max() == 0


def test_the_order_of_residues_reaches_the_embedding() -> None:
    stack = stack_of("esm1v")
    with torch.no_grad():
        state, _ = stack.embed(stack.spelling.encode(["AAAA"]))
    assert (state[0, 1] - state[0, 2]).abs().max() > 0.01  # with rotary positions it would be 0


@pytest.mark.parametrize(("family", "has_norm"), [("esm1b", True), ("esm1v", False)])
def test_a_norm_follows_the_embedding_of_esm1b_alone(family: str, has_norm: bool) -> None:
    names = set(load_stack(ALL[family], seed=0).module.state_dict())
    assert ("esm.embeddings.layer_norm.weight" in names) == has_norm
    assert "esm.rotary_embeddings.inv_freq" not in names


@pytest.mark.parametrize("family", ["esm1b", "esm1v"])
def test_the_longest_protein_has_a_position_for_every_token(family: str) -> None:
    stack = load_stack(replace(ALL[family], max_length=1022), seed=0)
    table = embeddings_of(stack).position_embeddings.weight
    assert len(table) == 1026  # as published: 1022 residues, two termini, and two rows before them
    tokens = stack.spelling.encode(["A" * 1022])
    with torch.no_grad():
        assert torch.isfinite(stack.embed(tokens)[0]).all()
        with pytest.raises(IndexError):
            stack.embed(stack.spelling.encode(["A" * 1023]))


def test_more_residues_than_positions_are_refused() -> None:
    with pytest.raises(InputError, match=r"model\.max_length=1023: the positions of esm1b end at 1022 residues"):
        replace(ALL["esm1b"], max_length=1023)


@pytest.mark.parametrize(
    ("saved", "asked", "reason"),
    [
        ("esm2", "esm1v", "its position_embedding_type is rotary, expected absolute"),
        ("esm1v", "esm2", "its position_embedding_type is absolute, expected rotary"),
        ("esm1b", "esm1v", "its emb_layer_norm_before is True, expected False"),
        ("esm1v", "esm1b", "its emb_layer_norm_before is False, expected True"),
        ("saprot", "esm2", "its vocab_size is 446, expected 33"),
    ],
)
def test_a_relative_of_the_same_size_is_not_taken_for_another(
    saved: str, asked: str, reason: str, tmp_path: Path
) -> None:
    load_stack(ALL[saved], seed=0).module.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=reason):
        load_stack(replace(ALL[asked], weights=str(tmp_path)), seed=0)


def test_a_checkpoint_trained_without_token_dropout_is_not_taken_for_one_with(tmp_path: Path) -> None:
    load_stack(replace(ALL["esm1v"], token_dropout=False), seed=0).module.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="its token_dropout is False, expected True"):
        load_stack(replace(ALL["esm1v"], weights=str(tmp_path)), seed=0)
    assert load_stack(replace(ALL["esm1v"], weights=str(tmp_path), token_dropout=False), seed=0).n_layers == 6


def test_without_the_attention_mask_padding_would_leak() -> None:
    stack = stack_of("esm1b")
    tokens = example_for(stack).tokens
    with torch.no_grad():
        right = stack.logits(stack.run(tokens))[1, : len(PROTEINS[1])]
        wrong = stack.module(input_ids=tokens.ids).logits[1, : len(PROTEINS[1])]
    assert (right - wrong).abs().max() > 0.01
