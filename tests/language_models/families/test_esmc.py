"""ESM-C against EvolutionaryScale's implementation, through its own checkpoint layout.

`golden/esmc.safetensors` holds what ``esm.models.esmc.ESMC`` (github.com/evolutionaryscale/esm, commit 6e89bf7) gave in
float32 at width 24, 3 heads and 3 layers, with `drawn_weights` for its state dict: tokens of three sequences of other
lengths, some masked, as its tokenizer spells them; the state that enters block 1 and those that leave each block,
before the final norm; the logits.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor
from transformers import EsmcTokenizer

from plmdepth.commands.objects import build
from plmdepth.errors import InputError
from plmdepth.interventions.skipping import silenced
from plmdepth.language_models.families.esmc import ESMC, SPELLING, VOCABULARY
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.spelling.spelling import Tokens
from plmdepth.language_models.weights import load_stack
from tests.certificate import Certify
from tests.family_case import SIZE, FamilyCase
from tests.golden.recipe import golden
from tests.recorder import Recorder, watched
from tests.stacks import ALL, example_for, stack_of

_ESMC = ESMC(name="esmc", family="esmc", objective="masked", **SIZE)
FAMILY = FamilyCase(
    miniatures={"esmc": _ESMC},
    fast=("esmc",),
    values=("attn.v_proj", 1),
    # with all 64 rows of the vocabulary
    parameters={"esmc_300m": 332_997_184, "esmc_600m": 575_036_992, "esmc_6b": 6_352_005_184},
)

CONF = Path(__file__).parents[3] / "conf"
TINY = replace(_ESMC, width=24, n_heads=3, n_layers=3)
SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQ", "MADEEKLPPGWXUBZO", "MSGLCQWHNE"]


def loaded(folder: Path, state: dict[str, Tensor], **changes: object) -> LayerStack:
    file = folder / "esmc.pth"
    torch.save(state, file)
    return load_stack(replace(TINY, weights=str(file), **changes), seed=0)


def tokens_of(ids: Tensor) -> Tokens:
    return Tokens(ids, attended=ids != SPELLING.pad, residues=ids > 3)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_states_and_logits_equal_the_reference_in_a_padded_masked_batch(
    tmp_path: Path, attention: str, certify: Certify
) -> None:
    theirs, state = golden("esmc")
    stack, tokens, ours = loaded(tmp_path, state, attention=attention), tokens_of(theirs["ids"]), Recorder()
    stack.run(tokens, [ours])
    assert len(ours.states) == len(theirs["states"]) == 4
    kept = tokens.attended  # without padding: there, their padding attends to padding
    states = ([state[kept] for state in each] for each in (ours.states, theirs["states"]))
    oracle = f"evolutionaryscale/esm, {attention} (golden)"
    certify("esmc", oracle, *states, stack.logits(ours.states[-1])[kept], theirs["logits"][kept])


def test_sequences_are_spelled_as_in_the_reference() -> None:
    ids = golden("esmc")[0]["ids"]
    spelled = SPELLING.encode(SEQUENCES).ids
    assert torch.equal(torch.where(ids == SPELLING.mask, spelled, ids), spelled)


def test_the_vocabulary_is_that_of_the_published_tokenizer() -> None:
    tokenizer = EsmcTokenizer()
    assert tuple(tokenizer.convert_ids_to_tokens(list(range(33)))) == VOCABULARY
    assert tokenizer("".join(SPELLING.letters))["input_ids"] == [0, *SPELLING.letters.values(), 2]
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id) == (SPELLING.pad, SPELLING.mask)
    assert VOCABULARY.index("|") == 31
    assert "|" not in SPELLING.letters


@pytest.mark.parametrize(("option", "scale"), [("esmc_300m", 0.913), ("esmc_600m", 1.0), ("esmc_6b", 1.491)])
def test_contributions_are_scaled_by_the_depth_of_the_published_size(option: str, scale: float) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        model = build(compose("analyze", overrides=[f"model={option}"]), "model")
    with torch.device("meta"):
        anatomy = model.anatomy(model.architecture(model.architecture_config()))
    assert anatomy.residual_scale == pytest.approx(scale, abs=5e-4)


@pytest.mark.parametrize("family", ["esmc", "esm3"])
def test_recorded_and_silenced_contributions_are_what_the_stream_gains(family: str) -> None:
    stack = stack_of(family)
    tokens = example_for(stack).tokens
    everywhere = torch.ones(tokens.ids.shape[1], dtype=torch.bool)
    assert stack.anatomy.residual_scale == pytest.approx((6 / 36) ** 0.5)
    _, call = stack.embed(tokens)
    for view in watched(stack).views:
        assert view.attention is not None
        assert view.mlp is not None
        with silenced(stack, view.layer, "mlp", everywhere):
            without_mlp = stack.apply_layer(view.layer, view.entering, call)
        torch.testing.assert_close(without_mlp, view.entering + view.attention, rtol=0, atol=1e-5)
        torch.testing.assert_close(without_mlp + view.mlp, view.state, rtol=0, atol=1e-5)
        with silenced(stack, view.layer, "attention", everywhere), silenced(stack, view.layer, "mlp", everywhere):
            assert torch.equal(stack.apply_layer(view.layer, view.entering, call), view.entering)


def test_a_checkpoint_may_hold_rotary_frequencies_and_hugging_faces_names(tmp_path: Path) -> None:
    theirs, state = golden("esmc")
    stack, tokens = loaded(tmp_path, state), tokens_of(theirs["ids"])
    with_tables = state | {f"transformer.blocks.{n}.attn.rotary.inv_freq": torch.zeros(4) for n in range(3)}
    for other in (with_tables, stack.module.state_dict()):
        assert torch.equal(loaded(tmp_path, other).run(tokens), stack.run(tokens))


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("transformer.blocks.0.attn.gate.weight", torch.zeros(3), "unknown: transformer.blocks.0.attn.gate.weight"),
        ("transformer.blocks.3.ffn.3.weight", torch.zeros(24, 256), "unknown: esmc.layers.3.mlp.down_proj.weight"),
        ("transformer.blocks.0.ffn.1.weight", torch.zeros(500, 24), "another shape: esmc.layers.0.mlp.gate_proj"),
        ("transformer.blocks.0.attn.layernorm_qkv.1.weight", torch.zeros(2, 24), "another shape: esmc.layers.0"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, name: str, tensor: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        loaded(tmp_path, golden("esmc")[1] | {name: tensor})


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    state = golden("esmc")[1]
    del state["transformer.blocks.1.attn.layernorm_qkv.1.weight"]
    with pytest.raises(InputError, match=r"missing: esmc\.layers\.1\.self_attn\.k_proj\.weight"):
        loaded(tmp_path, state)


def test_a_folder_in_hugging_faces_layout_is_read(tmp_path: Path) -> None:
    stack = stack_of("esmc")
    stack.module.save_pretrained(tmp_path)
    read = load_stack(replace(ALL["esmc"], weights=str(tmp_path)), seed=0)
    tokens = example_for(stack).tokens
    assert torch.equal(read.run(tokens), stack.run(tokens))
