"""XLNet against transformers' own, which runs both streams, with permutation mask and target mapping; and its traps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import XLNetLMHeadModel

from plmdepth.errors import InputError
from plmdepth.language_models.families.xlnet import ENGLISH, PROTEIN, SPECIAL, XLNet
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.modules.xlnet import relative_positions
from plmdepth.language_models.spelling.spelling import Tokens
from plmdepth.language_models.weights import load_stack
from plmdepth.metrics.logit_lens import QUANTITIES, LogitLens
from plmdepth.objectives.objective import Example
from plmdepth.proteins.protein import CANONICAL
from tests.family_case import SIZE, FamilyCase
from tests.language_models.families.vocabularies import write_pieces
from tests.recorder import watched
from tests.stacks import ALL, PROTEINS, example_for, stack_of

FAMILY = FamilyCase(
    miniatures={
        "prot_xlnet": XLNet(name="prot_xlnet", family="prot_xlnet", objective="masked", vocabulary="protein", **SIZE)
    },
    values=None,
    norms=lambda block: (block.rel_attn.layer_norm, block.ff.layer_norm),
    parameters={"prot_xlnet": 409_413_669, "xlnet_large": 360_300_800, "xlnet_large_text": 360_300_800},
)

CLOSE = {"rtol": 0, "atol": 1e-5}


def published(stack: LayerStack) -> Any:
    """Return transformers' own model with the weights of a stack."""
    twin = XLNetLMHeadModel(stack.module.config).eval()
    missing, unexpected = twin.load_state_dict(stack.module.state_dict(), strict=False)
    assert not missing
    assert not unexpected
    return twin


def whole(example: Example) -> Tokens:
    """Return the proteins with nothing hidden."""
    return replace(example.tokens, ids=example.labels)


@torch.no_grad()
def two_streams(stack: LayerStack, example: Example) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Run transformers' model as in training: content states, query states of all tokens, and logits of all tokens.

    The true residues are in the input: it is the masks that keep a target from itself and from all others.
    """
    tokens = example.tokens
    n_tokens = tokens.ids.shape[1]
    hidden = example.scored[:, None].expand(-1, n_tokens, -1)
    found = published(stack)(
        input_ids=example.labels,
        attention_mask=tokens.attended.float(),
        token_type_ids=2 * (tokens.ids == SPECIAL["<cls>"]),
        perm_mask=hidden.float(),
        target_mapping=torch.eye(n_tokens).expand(len(hidden), -1, -1),
        use_mems=False,
        output_hidden_states=True,
    )
    return list(found.hidden_states[0::2]), list(found.hidden_states[1::2]), found.logits


def test_every_state_is_that_of_the_content_or_of_the_query_stream() -> None:
    stack = stack_of("prot_xlnet")
    example = example_for(stack)
    content, query, logits = two_streams(stack, example)
    ours = watched(stack).states
    shown = example.tokens.attended & ~example.scored
    assert len(ours) == len(content) == len(query) == stack.n_layers + 1
    for mine, h, g in zip(ours, content, query, strict=True):
        torch.testing.assert_close(mine[shown], h[shown], **CLOSE)
        torch.testing.assert_close(mine[example.scored], g[example.scored], **CLOSE)
    torch.testing.assert_close(stack.logits(ours[-1])[example.scored], logits[example.scored], **CLOSE)


def test_the_two_streams_are_told_apart() -> None:
    stack = stack_of("prot_xlnet")
    example = example_for(stack)
    content, query, _ = two_streams(stack, example)
    for h, g in zip(content, query, strict=True):
        assert (h - g)[example.tokens.attended].abs().amax(-1).min() > 0.01


@torch.no_grad()
def test_without_targets_it_is_the_content_stream_alone() -> None:
    stack = stack_of("prot_xlnet")
    tokens = whole(example_for(stack))
    segments = 2 * (tokens.ids == SPECIAL["<cls>"])
    states = published(stack)(
        tokens.ids, tokens.attended.float(), token_type_ids=segments, output_hidden_states=True, use_mems=False
    ).hidden_states
    torch.testing.assert_close(stack.run(tokens)[tokens.attended], states[-1][tokens.attended], **CLOSE)


@torch.no_grad()
def test_targets_leak_in_the_published_model_without_its_masks_and_never_here() -> None:
    stack = stack_of("prot_xlnet")
    example = example_for(stack)
    other = torch.where(example.scored, (example.labels - 17 + 1) % 20 + 17, example.labels)
    assert (other != example.labels).any()
    for ids in (example.labels, other):
        found = stack.module(ids, example.scored, example.tokens.attended, 2 * (ids == SPECIAL["<cls>"])).logits
        torch.testing.assert_close(found, stack.logits(stack.run(example.tokens)), rtol=0, atol=0)
    naive = [
        published(stack)(ids, example.tokens.attended.float()).logits[example.scored] for ids in (example.labels, other)
    ]
    assert (naive[0] - naive[1]).abs().amax(-1).min() > 0.1


@torch.no_grad()
def test_no_token_sees_a_hidden_one_and_every_token_sees_all_others() -> None:
    stack = stack_of("prot_xlnet")
    example = example_for(stack).sequence(0)
    state, call = stack.embed(example.tokens)
    for token in range(state.shape[1]):
        moved = state.clone()
        moved[0, token] += torch.randn(state.shape[-1], generator=torch.Generator().manual_seed(token))
        change = (stack.apply_layer(1, moved, call) - stack.apply_layer(1, state, call))[0].abs().amax(-1)
        change[token] = 1.0
        if example.scored[0, token]:
            assert change.sum() == 1.0
        else:
            assert (change > 0).all()


@pytest.mark.parametrize("row", range(len(PROTEINS)))
@torch.no_grad()
def test_padding_on_the_left_as_published_gives_the_same(row: int) -> None:
    stack = stack_of("prot_xlnet")
    example = example_for(stack)
    tokens = example.tokens
    flip = torch.argsort(tokens.attended.int(), dim=1, stable=True)  # padding first, all else in its order
    left = Tokens(*(part.gather(1, flip) for part in (tokens.ids, tokens.attended, tokens.residues)))
    assert left.ids[0, -2:].tolist() == left.ids[1, -2:].tolist() == [SPECIAL["<sep>"], SPECIAL["<cls>"]]
    here, there = stack.run(tokens)[row], stack.run(left)[row]
    torch.testing.assert_close(here[tokens.attended[row]], there[left.attended[row]], **CLOSE)


def test_proteins_end_in_the_special_tokens() -> None:
    tokens = PROTEIN.encode(["MK", "A"])
    letters = PROTEIN.letters
    assert tokens.ids.tolist() == [[letters["M"], letters["K"], 4, 3], [letters["A"], 4, 3, 5]]
    assert tokens.residues.tolist() == [[True, True, False, False], [True, False, False, False]]


@torch.no_grad()
def test_the_class_token_has_a_segment_of_its_own() -> None:
    stack = stack_of("prot_xlnet")
    example = example_for(stack)
    inputs = stack.anatomy.inputs(example.tokens)
    assert torch.equal(inputs["segments"], 2 * (example.tokens.ids == SPECIAL["<cls>"]))
    one = stack.module(**{**inputs, "segments": torch.zeros_like(inputs["segments"])}).logits
    assert (one - stack.module(**inputs).logits)[example.scored].abs().max() > 1e-3


@pytest.mark.parametrize("clamp", [-1, 3])
def test_positions_are_those_of_the_published_model(clamp: int) -> None:
    twin = XLNetLMHeadModel(stack_of("prot_xlnet").module.config).transformer
    twin.clamp_len = clamp
    expected = twin.relative_positional_encoding(7, 7)[:, 0]
    torch.testing.assert_close(relative_positions(7, 32, clamp, torch.zeros(1)), expected, rtol=0, atol=1e-6)


@torch.no_grad()
def test_what_attention_adds_is_zeroed_as_if_the_norm_read_the_state() -> None:
    stack = stack_of("prot_xlnet")
    example = example_for(stack)
    twin = published(stack)
    entering: list[Tensor] = []
    twin.transformer.layer[2].rel_attn.register_forward_pre_hook(lambda _m, args: entering.append(args[0]))
    twin.transformer.layer[2].rel_attn.layer_norm.register_forward_pre_hook(lambda _m, _a: (entering[-1],))
    tokens = whole(example)
    segments = 2 * (tokens.ids == SPECIAL["<cls>"])
    expected = twin(tokens.ids, tokens.attended.float(), token_type_ids=segments).logits
    stack.anatomy.attention_outputs[2].register_forward_hook(lambda _m, _i, output: torch.zeros_like(output))
    found = stack.logits(stack.run(tokens))
    torch.testing.assert_close(found[tokens.attended], expected[tokens.attended], **CLOSE)


def test_the_lens_reads_the_query_stream_at_the_targets() -> None:
    stack = stack_of("prot_xlnet")
    example = example_for(stack)
    _, query, _ = two_streams(stack, example)
    names = [quantity.name for quantity in QUANTITIES]
    curves = LogitLens().measure(stack, example).curves[:, names.index("cross_entropy")]
    letters = stack.spelling.amino_acids.tolist()
    for row in range(len(PROTEINS)):
        truth = torch.tensor([letters.index(label) for label in example.labels[row, example.scored[row]].tolist()])
        for layer, states in enumerate(query):
            with torch.no_grad():
                logits = stack.module.lm_loss(states[row, example.scored[row]])[:, letters]
            expected = nn.functional.cross_entropy(logits, truth)
            torch.testing.assert_close(curves[row, layer], expected, rtol=1e-4, atol=1e-5, check_dtype=False)


def test_random_weights_are_drawn_for_every_parameter() -> None:
    stack = load_stack(ALL["prot_xlnet"], seed=0)
    own = {name: p for name, p in stack.module.named_parameters() if "rel_attn" in name or "mask_emb" in name}
    drawn = [parameter for name, parameter in own.items() if "layer_norm" not in name]
    assert len(drawn) == 9 * stack.n_layers + 1
    assert all(0.01 < parameter.std() < 0.03 for parameter in drawn)


def test_a_folder_of_the_published_model_is_read(tmp_path: Path) -> None:
    stack = stack_of("prot_xlnet")
    published(stack).save_pretrained(tmp_path)
    write_pieces(tmp_path, SPECIAL, "YWV" + CANONICAL[:-3])
    model = replace(ALL["prot_xlnet"], weights=str(tmp_path))
    read, tokens = load_stack(model, seed=0), example_for(stack).tokens
    with torch.no_grad():
        assert torch.equal(read.run(tokens), stack.run(tokens))
    assert read.spelling.encode(["YWVAX"]).ids.tolist() == [[7, 8, 9, 10, SPECIAL["<unk>"], 4, 3]]
    (tmp_path / "spiece.model").unlink()
    with pytest.raises(InputError, match=r"no tokenizer\.json or spiece\.model"):
        load_stack(model, seed=0)


def test_the_english_twin_has_the_ids_of_the_published_vocabulary() -> None:
    # xlnet-large-cased: "M K T V W Y X" ends in <sep><cls>; S is a piece of words alone
    assert ENGLISH.encode(["MKTVWYX"]).ids.tolist() == [[414, 574, 430, 1024, 543, 2772, 1404, 4, 3]]
    assert ENGLISH.letters["S"] == 83
    assert len(set(ENGLISH.letters.values())) == len(CANONICAL + "X")
