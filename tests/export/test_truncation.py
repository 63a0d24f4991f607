"""A truncated model, opened by transformers alone, gives the states of the whole one."""

from pathlib import Path

import pytest
import torch
import transformers

from plmdepth.errors import InputError
from plmdepth.export.truncation import config_of, read_back, state_at, truncated, write_truncated
from tests.stacks import ALL, PROTEINS, stack_of

OURS_ALONE = {"esm3", "esm3_structure", "esm3_both", "prot_xlnet"}
"""Families for which transformers has no class, or one that computes something else."""
DECODERS = {name for name, model in ALL.items() if getattr(model, "part", None) == "decoder"}
ONLY_NORMED = {"progen2", "progen2_reverse"}
"""Families whose class hands out its last hidden state behind the norm alone."""
EXPORTED = sorted(set(ALL) - OURS_ALONE - DECODERS)


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("name", EXPORTED)
def test_the_folder_gives_the_states_of_the_layer(name: str, layer: int, tmp_path: Path) -> None:
    stack = stack_of(name)
    truncated(ALL[name], stack, layer).save_pretrained(tmp_path)
    tokens = stack.spelling.spell(PROTEINS)
    load = getattr(transformers, config_of(tmp_path)["architectures"][0])
    inputs = {key: value for key, value in stack.anatomy.inputs(tokens).items() if torch.is_tensor(value)}
    with torch.no_grad():
        found = load.from_pretrained(tmp_path).eval()(**inputs, output_hidden_states=True)
    state = state_at(stack, tokens, layer)
    normed = stack.anatomy.norm(state)
    torch.testing.assert_close(found.last_hidden_state[tokens.residues], normed[tokens.residues], rtol=1e-5, atol=1e-5)
    raw = normed if name in ONLY_NORMED else state
    torch.testing.assert_close(found.hidden_states[-1][tokens.residues], raw[tokens.residues], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", [True, False])
def test_a_fresh_process_reads_it_back(norm: bool, tmp_path: Path) -> None:
    stack = stack_of("esm2")
    tokens = stack.spelling.spell(PROTEINS)
    assert write_truncated(ALL["esm2"], stack, 3, norm, tokens, tmp_path) < 1e-5
    assert config_of(tmp_path)["num_hidden_layers"] == 3
    inputs = {"input_ids": tokens.ids, "attention_mask": tokens.attended.long()}
    assert read_back(tmp_path, inputs)["raw"].shape == (*tokens.ids.shape, stack.width)


def test_a_folder_that_computes_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of("esm2")
    tokens = stack.spelling.spell(PROTEINS)
    whole = {"raw": stack.run(tokens), "norm": stack.run(tokens)}
    monkeypatch.setattr("plmdepth.export.truncation.read_back", lambda folder, inputs: whole)
    with pytest.raises(InputError, match="gives other states than it"):
        write_truncated(ALL["esm2"], stack, 3, True, tokens, tmp_path)


def test_a_state_that_transformers_does_not_hand_out_is_refused(tmp_path: Path) -> None:
    stack = stack_of("progen2")
    with pytest.raises(InputError, match=r"use export.norm=true"):
        write_truncated(ALL["progen2"], stack, 3, False, stack.spelling.spell(PROTEINS), tmp_path)


@pytest.mark.parametrize("name", sorted(OURS_ALONE | DECODERS))
def test_what_cannot_be_taken_home_says_so(name: str) -> None:
    with pytest.raises(InputError, match=r"transformers has no class|needs its encoder"):
        truncated(ALL[name], stack_of(name), 2)


@pytest.mark.parametrize("layer", [0, 7])
def test_there_is_no_other_layer(layer: int) -> None:
    with pytest.raises(InputError, match=f"no layer {layer} to stop at"):
        truncated(ALL["esm2"], stack_of("esm2"), layer)
