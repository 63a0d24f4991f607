"""ProtGPT2: tokens of several residues, and the trap of GPT-2's cache.

The oracle of states and logits is transformers' own GPT-2. Its published vocabulary is not at hand: a byte-pair
encoding in miniature has the same form, and the ids of single letters follow from the byte alphabet.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import GPT2Tokenizer

from plmdepth.analysis.tables import CurveLabels, curve_table
from plmdepth.errors import InputError
from plmdepth.interventions.descent import Rows, clean_descent
from plmdepth.language_models.anatomy import token_inputs
from plmdepth.language_models.families.gpt2 import LINE, NEW_LINE, ProtGPT2
from plmdepth.language_models.layer_stack import LayerCall, LayerStack
from plmdepth.language_models.spelling.pieces import PieceSpelling
from plmdepth.language_models.weights import load_stack
from plmdepth.metrics.ablation import Ablation
from plmdepth.metrics.accumulators import MeanAccumulator
from plmdepth.metrics.gradients import Gradients
from plmdepth.metrics.layer_skip import LayerSkip
from plmdepth.metrics.logit_lens import QUANTITIES, LogitLens
from plmdepth.objectives.autoregressive import Autoregressive
from plmdepth.proteins.protein import CANONICAL, Protein
from tests.family_case import SIZE, FamilyCase
from tests.stacks import ALL, PROTEINS, stack_of

_PROTGPT2 = ProtGPT2(name="protgpt2", family="protgpt2", objective="autoregressive", **SIZE)
FAMILY = FamilyCase(
    miniatures={"protgpt2": _PROTGPT2},
    variants={"protgpt2_pieces": _PROTGPT2},
    values=("attn.c_attn", 3),
    parameters={"protgpt2": 774_030_080},  # as many as GPT-2 large, whose sizes it has
)

MERGES = [("M", "K"), ("T", "V"), ("MK", "TV"), ("A", "X"), ("L", "L")]
PIECES = {"MK": 257, "TV": 258, "MKTV": 259, "AX": 260, "LL": 261}


def alphabet() -> list[str]:
    """Return the first tokens of a vocabulary that was trained on bytes, in their order."""
    return ["<|endoftext|>", *sorted(ByteLevel.alphabet())]


def write_tokenizer(folder: Path, form: str = "vocab.json") -> None:
    vocabulary = {token: index for index, token in enumerate(alphabet())} | PIECES
    merges = [" ".join(pair) for pair in MERGES]
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    if form == "tokenizer.json":
        GPT2Tokenizer(vocab=vocabulary, merges=MERGES).save_pretrained(folder)
        for name in ("vocab.json", "merges.txt"):
            (folder / name).unlink(missing_ok=True)


@pytest.fixture(params=["vocab.json", "tokenizer.json"])
def spelling(tmp_path: Path, request: pytest.FixtureRequest) -> PieceSpelling:
    write_tokenizer(tmp_path, request.param)
    model = ALL["protgpt2"]
    assert isinstance(model, ProtGPT2)
    return model.published_spelling(tmp_path)


@pytest.fixture
def stack(tmp_path: Path) -> LayerStack:
    """A miniature from a folder with a tokenizer."""
    stack_of("protgpt2").module.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    return load_stack(replace(ALL["protgpt2"], weights=str(tmp_path)), seed=0)


def test_single_letters_have_the_ids_of_the_byte_alphabet() -> None:
    tokens = alphabet()
    spelling = ALL["protgpt2"].spelling
    assert {letter: tokens.index(letter) for letter in CANONICAL} == {
        letter: spelling.letters[letter] for letter in CANONICAL
    }
    assert tokens.index("\u010a") == NEW_LINE  # a line feed in that alphabet
    assert spelling.encode(["MK"]).ids.tolist() == [[0, 199, 45, 43, 199, 0]]


def test_a_protein_is_text_in_lines_as_its_authors_write_it(spelling: PieceSpelling) -> None:
    sequence = "MKTV" * 20
    text = f"<|endoftext|>\n{sequence[:LINE]}\n{sequence[LINE:]}\n<|endoftext|>"
    expected = spelling.tokenizer.encode(text, add_special_tokens=False)
    assert spelling.encode([sequence]).ids.tolist() == [expected]
    assert expected == [0, 199, *[259] * 15, 199, *[259] * 5, 199, 0]


def test_a_token_of_residues_is_a_residue_and_a_new_line_is_not(spelling: PieceSpelling) -> None:
    tokens = spelling.encode(["MKTVA", "MKLLL"])
    assert tokens.ids.tolist() == [[0, 199, 259, 33, 199, 0, 0], [0, 199, 257, 261, 44, 199, 0]]
    assert tokens.residues.long().tolist() == [[0, 0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0]]
    assert tokens.attended.sum(1).tolist() == [6, 7]
    assert spelling.tokens_of_residues(tokens, 0).tolist() == [2, 2, 2, 2, 3]
    assert spelling.tokens_of_residues(tokens, 1).tolist() == [2, 2, 3, 3, 4]


def test_the_row_before_a_token_predicts_it_and_all_of_its_residues(spelling: PieceSpelling) -> None:
    sequence = "MKTVX" + "A" * 55 + "LLA"
    example = Autoregressive().present([Protein("", sequence)], spelling, seed=0)
    assert example.targets == (tuple(i for i in range(len(sequence)) if i != 4),)
    rows = example.scored[0].nonzero()[:, 0]
    assert example.labels[0, rows].tolist() == example.tokens.ids[0, rows + 1].tolist() == [259, *[33] * 55, 261, 33]
    assert example.tokens.ids[0, rows[-2]] == NEW_LINE  # the first token of a line is predicted from the line's end


def test_a_token_with_an_amino_acid_is_a_target_beside_x(spelling: PieceSpelling) -> None:
    example = Autoregressive().present([Protein("", "AX"), Protein("", "X")], spelling, seed=0)
    assert example.targets == ((0,), ())
    assert example.labels[example.scored].tolist() == [PIECES["AX"]]
    assert set(example.labels[example.scored].tolist()) <= set(spelling.amino_acids.tolist())


def test_choices_are_all_tokens_made_of_residues(spelling: PieceSpelling) -> None:
    letters = [alphabet().index(letter) for letter in sorted(CANONICAL + "UOBZXJ")]
    assert spelling.amino_acids.tolist() == [*letters, *PIECES.values()]


def test_a_protein_has_no_more_tokens_than_are_counted(spelling: PieceSpelling) -> None:
    for length in (1, 59, 60, 61, 120, 121):
        assert spelling.encode(["A" * length]).ids.shape[1] <= spelling.n_tokens(length)
    assert spelling.encode(["A" * 61]).ids.shape[1] == spelling.n_tokens(61)


def test_metrics_read_tokens_of_several_residues(stack: LayerStack) -> None:
    example = Autoregressive().present(PROTEINS[1:2], stack.spelling, seed=0)
    lens = LogitLens().measure(stack, example).curves
    rows = example.scored[0]
    with torch.no_grad():
        logits = stack.module(example.tokens.ids, attention_mask=example.tokens.attended.long()).logits[0, rows]
    allowed = stack.spelling.amino_acids
    chosen = torch.full((50257,), -torch.inf).index_fill(0, allowed, 0.0)
    expected = torch.nn.functional.cross_entropy(logits + chosen, example.labels[0, rows])
    index = [quantity.name for quantity in QUANTITIES].index("cross_entropy")
    assert lens[0, index, -1].item() == pytest.approx(expected.item(), rel=1e-5)
    for metric in (Ablation(blocks=False), Gradients(), LayerSkip(scope="future", components=("layer",))):
        assert metric.measure(stack, example).curves.isfinite().any()


def test_the_record_says_per_token(stack: LayerStack) -> None:
    estimate = MeanAccumulator((len(QUANTITIES), stack.n_layers + 1)).compute
    labels = CurveLabels("m", "f", 1, stack.n_layers, "autoregressive", "d")
    with pytest.warns(UserWarning, match="before"):
        value = estimate()
    for token, unit in ((stack.spelling.unit, "nats/token"), (ALL["protgpt2"].spelling.unit, "nats/residue")):
        table = curve_table(value, QUANTITIES, labels, token).to_pandas()
        assert set(table.loc[table["quantity"] == "cross_entropy", "unit"]) == {unit}
        assert set(table.loc[table["quantity"] == "entropy", "unit"]) == {"nats"}


def test_a_checkpoint_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    stack_of("protgpt2").module.save_pretrained(tmp_path)
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(InputError, match=r"protgpt2 spells proteins by its own tokenizer; put tokenizer\.json"):
        load_stack(replace(ALL["protgpt2"], weights=str(tmp_path)), seed=0)


def test_a_damaged_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="cannot read the tokenizer"):
        ALL["protgpt2"].published_spelling(tmp_path)


def test_proteins_beyond_the_positions_are_refused() -> None:
    assert replace(ALL["protgpt2"], max_length=1000).max_length == 1000
    with pytest.raises(InputError, match="the positions of protgpt2 end at"):
        replace(ALL["protgpt2"], max_length=1010)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_nothing_is_cached_between_calls(attention: str) -> None:
    stack = stack_of("protgpt2", attention=attention)
    tokens = Autoregressive().present(PROTEINS[:1], stack.spelling, seed=0).tokens
    with torch.no_grad():
        state, call = stack.embed(tokens)
        assert call.kwargs["past_key_values"] is None
        first = stack.resume(1, state, call)
        assert torch.equal(stack.resume(1, state, call), first)


def test_with_a_cache_replayed_layers_would_attend_to_stale_keys() -> None:
    stack = stack_of("protgpt2", attention="sdpa")
    careless = replace(
        stack, anatomy=replace(stack.anatomy, inputs=lambda tokens: {**token_inputs(tokens), "use_cache": True})
    )
    tokens = Autoregressive().present(PROTEINS[:1], stack.spelling, seed=0).tokens
    found = []
    with torch.no_grad():
        for each in (stack, careless):
            state, call = each.embed(tokens)
            each.resume(1, state, call)
            found.append(each.resume(1, -state, call))
    assert (found[0] - found[1]).abs().max() > 0.1


def test_one_sequences_arguments_serve_any_number_of_branches() -> None:
    stack = stack_of("protgpt2", attention="sdpa")
    tokens = Autoregressive().present(PROTEINS[:1], stack.spelling, seed=0).tokens
    with torch.no_grad():
        descent = clean_descent(stack, tokens)
        branches = descent.states[1] + torch.randn(3, 1, 32, generator=torch.Generator().manual_seed(0))
        rows = Rows(stack, LayerCall(descent.call.args, descent.call.kwargs))
        together = rows.apply(2, branches)
        alone = torch.cat([rows.apply(2, branch[None]) for branch in branches])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
