"""DPLM: its files, which differ from ESM-2's in small ways, and what noise does to its embeddings.

`golden/dplm.safetensors` holds what ``EsmForDPLM`` (github.com/bytedance/dplm, commit 8b3425b, transformers 4.39.2)
gave in float32 at width 32, 4 heads and 3 layers, untied, with `drawn_weights` for its state dict: tokens of three
sequences, one partly and one wholly hidden; the state that enters block 1 and those that leave each block; the logits.
"""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models import weights
from plmdepth.language_models.families.dplm import DPLM
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.spelling.spelling import Tokens
from plmdepth.language_models.weights import load_stack, weights_digest
from plmdepth.objectives.diffusion import Diffusion
from plmdepth.proteins.protein import Protein
from tests.certificate import Certify
from tests.family_case import SIZE, FamilyCase
from tests.golden.recipe import golden
from tests.recorder import Recorder
from tests.stacks import ALL, PROTEINS, example_for, stack_of

FAMILY = FamilyCase(
    miniatures={"dplm": DPLM(name="dplm", family="dplm", objective="diffusion", **SIZE)},
    values=("attention.self.value", 1),
    # ESM-2's architecture; the contact head, which DPLM's files lack, is counted here too
    parameters={"dplm_150m": 148_140_154, "dplm_650m": 651_043_254, "dplm_3b": 2_839_005_634},
)

WORDS, DECODER = "esm.embeddings.word_embeddings.weight", "lm_head.decoder.weight"
PAD, MASK = 1, 32


def content() -> dict[str, Tensor]:
    """Return tensors by the names of DPLM's files: no contact head, unused positions, a decoder of its own."""
    state = dict(stack_of("dplm").module.state_dict())
    kept = {name: tensor for name, tensor in state.items() if "contact_head" not in name and "rotary" not in name}
    frequencies = state["esm.rotary_embeddings.inv_freq"]
    old = {f"esm.encoder.layer.{k}.attention.self.rotary_embeddings.inv_freq": frequencies for k in range(6)}
    unused = {
        "esm.embeddings.position_embeddings.weight": torch.ones(132, 32),
        "esm.embeddings.position_ids": torch.arange(132)[None],
    }
    return {**kept, **old, **unused, DECODER: kept[DECODER] + torch.linspace(-1, 1, 32)}


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder as DPLM is published: PyTorch's own format, and a configuration that names DPLM's class."""

    def write(files: dict[str, Any] | None = None, **changes: Any) -> Path:
        place = tmp_path / "dplm"
        place.mkdir()
        config = ALL["dplm"].architecture_config().to_dict()
        dplm = {"architectures": ["EsmForDPLM"], "dplm_type": "dplm_esm", "auto_map": {"AutoConfig": "dplm.Config"}}
        (place / "config.json").write_text(json.dumps({**config, **dplm, **changes}, default=str))
        for name, tensors in (files or {"pytorch_model.bin": content()}).items():
            torch.save(tensors, place / name)
        return place

    return write


def loaded(place: Path, name: str = "dplm", **changes: Any) -> LayerStack:
    return load_stack(replace(ALL[name], weights=str(place), **changes), seed=0)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_states_and_logits_equal_the_published_implementation(
    folder: Callable[..., Path], attention: str, certify: Certify
) -> None:
    theirs, state = golden("dplm")
    frequencies = stack_of("dplm").module.state_dict()["esm.rotary_embeddings.inv_freq"]  # a constant
    rotary = {f"esm.encoder.layer.{k}.attention.self.rotary_embeddings.inv_freq": frequencies for k in range(3)}
    place = folder({"pytorch_model.bin": state | rotary}, num_hidden_layers=3, tie_word_embeddings=False)
    stack, seen = loaded(place, n_layers=3, attention=attention), Recorder()
    ids = theirs["ids"].long()
    tokens = Tokens(ids, attended=ids != PAD, residues=ids > 3)
    with torch.no_grad():
        logits = stack.logits(stack.run(tokens, [seen]))
    kept = tokens.attended
    states = ([each[kept] for each in side] for side in (seen.states, theirs["states"]))
    certify("dplm", f"bytedance/dplm, {attention} (golden)", *states, logits[kept], theirs["logits"][kept])


@pytest.mark.parametrize("tied", [True, False])
def test_the_files_own_decoder_is_used_whatever_the_configuration_says(tied: bool, folder: Callable[..., Path]) -> None:
    state = loaded(folder(tie_word_embeddings=tied)).module.state_dict()
    assert torch.equal(state[WORDS], content()[WORDS])
    assert torch.equal(state[DECODER], content()[DECODER])


def test_a_file_without_a_decoder_uses_the_embedding(folder: Callable[..., Path]) -> None:
    tensors = content()
    del tensors[DECODER]
    state = loaded(folder({"pytorch_model.bin": tensors})).module.state_dict()
    assert torch.equal(state[DECODER], tensors[WORDS])


def test_unused_positions_are_dropped_and_all_other_tensors_are_the_files(folder: Callable[..., Path]) -> None:
    state, given = loaded(folder()).module.state_dict(), content()
    same = set(state) & set(given)
    assert all(torch.equal(state[name], given[name]) for name in same)
    assert len(same) == len(state) - 3  # the contact head, and the one table of frequencies, which follow
    assert {name for name in given if name not in state} >= {"esm.embeddings.position_embeddings.weight"}


def test_a_file_in_pieces_is_put_together(folder: Callable[..., Path]) -> None:
    tensors, names = content(), ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    parts = {name: {key: tensors[key] for key in sorted(tensors)[number::2]} for number, name in enumerate(names)}
    place = folder(parts)
    index = {"metadata": {}, "weight_map": {key: name for name, part in parts.items() for key in part}}
    (place / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert torch.equal(loaded(place).module.state_dict()[DECODER], tensors[DECODER])
    assert weights_digest(replace(ALL["dplm"], weights=str(place)), 0).startswith("sha256:")


def test_the_hub_is_asked_for_pytorchs_format_only_where_there_is_no_other(
    folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder()
    asked: list[list[str]] = []
    monkeypatch.setattr(weights, "snapshot_download", lambda _, allow_patterns: asked.append(allow_patterns) or place)
    assert load_stack(replace(ALL["dplm"], weights="hub", hub_id="a/b"), seed=0).n_layers == 6
    assert ["*.bin" in patterns for patterns in asked] == [False, True]
    assert ["*.safetensors" in patterns for patterns in asked] == [True, False]
    load_stack(ALL["dplm"], seed=0).module.save_pretrained(place)
    asked.clear()
    load_stack(replace(ALL["dplm"], weights="hub", hub_id="a/b"), seed=0)
    assert not any("*.bin" in patterns for patterns in asked)


class RunsCode:
    """Pickles as a call that leaves a folder behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_a_file_that_would_run_code_is_refused_and_does_not(folder: Callable[..., Path], tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    place = folder({"pytorch_model.bin": {**content(), "x": RunsCode(mark)}})
    with pytest.raises(InputError, match=r"^[^\n]*holds more than weights, or is damaged; it is not read$"):
        loaded(place)
    assert not mark.exists()


@pytest.mark.parametrize("keep", [0, 3000])
def test_a_file_that_breaks_off_is_refused(keep: int, folder: Callable[..., Path]) -> None:
    file = folder() / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"^[^\n]*damaged[^\n]*$"):
        loaded(file.parent)


def test_dplm_is_not_taken_for_esm2_nor_for_another_use_of_mask_tokens(folder: Callable[..., Path]) -> None:
    place = folder(token_dropout=False)
    with pytest.raises(InputError, match="its token_dropout is False, expected True"):
        loaded(place)
    assert loaded(place, token_dropout=False).n_layers == 6
    with pytest.raises(InputError, match="its dplm_type is dplm_esm, expected None"):
        loaded(place, "esm2", token_dropout=False)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9, 1.0])
def test_states_and_logits_are_the_models_own_at_every_noise_level(level: float) -> None:
    stack = stack_of("dplm")
    tokens = Diffusion((level,)).present(PROTEINS, stack.spelling, seed=0).tokens
    with torch.no_grad():
        # as DPLM calls it: the mask follows from the padding
        own = stack.module(input_ids=tokens.ids, attention_mask=tokens.ids.ne(PAD), output_hidden_states=True)
        last = stack.run(tokens)
    torch.testing.assert_close(stack.anatomy.norm(last), own.hidden_states[-1], rtol=0, atol=1e-5)
    torch.testing.assert_close(stack.logits(last), own.logits, rtol=0, atol=1e-5)


def test_without_the_attention_mask_padding_would_leak() -> None:
    stack = stack_of("dplm")
    tokens = example_for(stack).tokens
    with torch.no_grad():
        right = stack.logits(stack.run(tokens))[1, : len(PROTEINS[1])]
        wrong = stack.module(input_ids=tokens.ids).logits[1, : len(PROTEINS[1])]
    assert (right - wrong).abs().max() > 0.01


def test_what_is_left_of_a_fully_hidden_protein_is_scaled_up() -> None:
    stack = stack_of("dplm")
    tokens = Diffusion((1.0,)).present([Protein("a", "A" * 100)], stack.spelling, seed=0).tokens
    assert (tokens.ids == MASK).sum() == 100
    with torch.no_grad():
        state, _ = stack.embed(tokens)
        ends = stack.module.get_parameter(WORDS)[tokens.ids[0, [0, -1]]]
    torch.testing.assert_close(state[0, [0, -1]], ends * 44.88, rtol=1e-4, atol=1e-5)
    assert state[0, 1:-1].abs().max() == 0
