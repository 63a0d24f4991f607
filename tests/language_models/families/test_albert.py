"""ALBERT: one block called L times, so interventions must count calls; and a vocabulary that lies with the weights.

The references below hook the shared block and count its calls; they run the model's own forward pass.
"""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from plmdepth.errors import InputError
from plmdepth.interventions.descent import clean_descent
from plmdepth.interventions.skipping import skipped
from plmdepth.language_models.families.albert import ALBERT, ENGLISH, PROTEIN, SPECIAL
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.spelling.spelling import Tokens
from plmdepth.language_models.weights import load_stack
from plmdepth.proteins.protein import CANONICAL
from tests.calls import hooked_call
from tests.family_case import SIZE, FamilyCase
from tests.language_models.families.vocabularies import write_pieces, write_tokenizer
from tests.recorder import watched
from tests.stacks import ALL, example_for, own_forward, stack_of

_PROT_ALBERT = ALBERT(
    name="prot_albert",
    family="prot_albert",
    objective="masked",
    vocabulary="protein",
    n_positions=130,
    embedding_width=16,
    activation="gelu_new",
    **SIZE,
)


def norms(block: Any) -> tuple[nn.Module, nn.Module]:
    layer = block.albert_layers[0]
    return layer.attention.LayerNorm, layer.full_layer_layer_norm


FAMILY = FamilyCase(
    miniatures={"prot_albert": _PROT_ALBERT},
    values=("attention.value", 1),
    norms=norms,
    # without pooling and the head for sentences; ProtAlbert with fewer tokens and more positions
    parameters={
        "prot_albert": 206_368_944 - (30_000 - 34) * 129 + (40_000 - 512) * 128,
        "albert_xxlarge": 206_368_944,
        "albert_xxlarge_text": 206_368_944,
    },
)


def final_state(stack: LayerStack, tokens: Tokens) -> Tensor:
    final: Tensor = own_forward(stack, tokens, output_hidden_states=True).hidden_states[-1]
    return final


def alone(stack: LayerStack) -> Tokens:
    return example_for(stack).sequence(0).tokens


def test_all_layers_are_one_block_and_yet_differ() -> None:
    stack = stack_of("prot_albert")
    assert len(set(stack.anatomy.layers)) == 1
    attentions = [view.attention for view in watched(stack).views]
    assert len(attentions) == stack.n_layers == 6
    assert min(float((one - two).norm()) for one, two in pairwise(attentions)) > 1e-2


@torch.no_grad()
def test_the_stream_begins_after_the_map_from_the_narrow_embeddings() -> None:
    stack = stack_of("prot_albert")
    state, _ = stack.embed(alone(stack))
    narrow = stack.module.albert.embeddings(alone(stack).ids)
    assert narrow.shape[-1] == 16
    assert torch.equal(state, stack.module.albert.encoder.embedding_hidden_mapping_in(narrow))


@pytest.mark.parametrize("layer", [1, 3, 6])
@pytest.mark.parametrize("component", ["layer", "attention", "mlp"])
@torch.no_grad()
def test_skipping_at_one_layer_changes_one_call(component: Any, layer: int) -> None:
    stack = stack_of("prot_albert")
    tokens = alone(stack)
    where = tokens.residues[0]
    anatomy = stack.anatomy
    parts = {"layer": anatomy.layers, "attention": anatomy.attention_outputs, "mlp": anatomy.mlp_outputs}[component]

    def change(_module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return torch.where(where[:, None], inputs[0] if component == "layer" else 0.0, output)

    with hooked_call(parts, layer, change):
        expected = final_state(stack, tokens)
    descent = clean_descent(stack, tokens)
    found = stack.resume(layer + 1, skipped(stack, descent, layer, component, where), descent.call)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (found - descent.states[-1]).abs().max() > 1e-3


@torch.no_grad()
def test_a_hook_that_does_not_count_would_change_every_layer() -> None:
    stack = stack_of("prot_albert")
    tokens = alone(stack)
    descent = clean_descent(stack, tokens)
    third = stack.resume(4, skipped(stack, descent, 3, "mlp", tokens.residues[0]), descent.call)
    handle = stack.anatomy.mlp_outputs[2].register_forward_hook(lambda _m, _i, output: torch.zeros_like(output))
    every = final_state(stack, tokens)
    handle.remove()
    assert (third - every).abs().max() > 0.05


def ablated(stack: LayerStack, tokens: Tokens, count: int) -> Tensor:
    stack.module.config.num_hidden_layers = count
    state = final_state(stack, tokens)
    stack.module.config.num_hidden_layers = stack.n_layers
    return state


@pytest.mark.parametrize("layer", [1, 3, 6])
@torch.no_grad()
def test_dropping_any_layer_is_one_iteration_less(layer: int) -> None:
    stack = stack_of("prot_albert")
    tokens = alone(stack)
    descent = clean_descent(stack, tokens)
    dropped = stack.resume(layer + 1, descent.states[layer - 1], descent.call)
    torch.testing.assert_close(dropped, ablated(stack, tokens, 5), rtol=0, atol=1e-5)


def folder_of(folder: Path, **changes: Any) -> str:
    """Write a miniature with the parts that published files also hold."""
    stack_of("prot_albert").module.save_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    heads = {"albert.pooler.weight": torch.ones(32, 32), "sop_classifier.classifier.bias": torch.ones(2)}
    save_file({**state, **heads}, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return str(folder)


def read(place: str) -> LayerStack:
    return load_stack(replace(ALL["prot_albert"], weights=place), seed=0)


@pytest.mark.parametrize("write", [write_pieces, write_tokenizer])
def test_letters_have_the_ids_of_the_vocabulary_beside_the_weights(write: Any, tmp_path: Path) -> None:
    write(tmp_path, SPECIAL, "XYWVTSRQPNMLKIHGFEDCA")
    spelling = read(folder_of(tmp_path)).spelling
    assert spelling.encode(["XYAU"]).ids.tolist() == [[2, 5, 6, 25, 5, 3]]
    assert set(spelling.letters) == set(CANONICAL + "X")


def test_a_letter_that_is_no_amino_acid_may_be_missing(tmp_path: Path) -> None:
    write_pieces(tmp_path, SPECIAL, CANONICAL)
    assert read(folder_of(tmp_path)).spelling.letters["X"] == SPECIAL["<unk>"]


@pytest.mark.parametrize(
    ("special", "letters", "wrong"),
    [(SPECIAL, CANONICAL.replace("W", ""), "W"), ({**SPECIAL, "[MASK]": 5}, CANONICAL, r"\[MASK\]")],
)
def test_another_vocabulary_is_refused(special: dict[str, int], letters: str, wrong: str, tmp_path: Path) -> None:
    write_pieces(tmp_path, special, letters)
    with pytest.raises(InputError, match=f"is another one: it lacks, or has moved, {wrong}$"):
        read(folder_of(tmp_path))


def test_weights_without_their_vocabulary_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no tokenizer\.json or spiece\.model"):
        read(folder_of(tmp_path))


def test_a_published_configuration_that_names_no_architecture_is_read(tmp_path: Path) -> None:
    write_pieces(tmp_path, SPECIAL, CANONICAL)
    stack = read(folder_of(tmp_path, model_type=None, architectures=None))
    tokens = alone(stack_of("prot_albert"))
    with torch.no_grad():
        assert torch.equal(stack.run(tokens), stack_of("prot_albert").run(tokens))


@pytest.mark.parametrize("change", [{"num_hidden_groups": 2}, {"inner_group_num": 2}, {"hidden_act": "gelu"}])
def test_a_checkpoint_of_more_than_one_block_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"is not prot_albert: its {next(iter(change))}"):
        read(folder_of(tmp_path, **change))


def test_the_english_twin_has_the_ids_of_the_published_vocabulary() -> None:
    # albert-xxlarge-v2: letters are words, as in "m k v"; d, e, n, s, t and y are pieces of words alone
    assert ENGLISH.encode(["MKVX"]).ids.tolist() == [[2, 307, 680, 566, 993, 3]]
    assert ENGLISH.encode(["DENSTY"]).ids.tolist() == [[2, 43, 62, 103, 18, 38, 93, 3]]
    assert len(set(ENGLISH.letters.values())) == len(CANONICAL + "X")
    assert (ENGLISH.pad, ENGLISH.mask) == (PROTEIN.pad, PROTEIN.mask) == (0, 4)


def test_an_untrained_model_has_a_row_for_every_letter() -> None:
    assert sorted(PROTEIN.letters.values()) == list(range(13, 34))
    assert stack_of("prot_albert").module.config.vocab_size == 34
