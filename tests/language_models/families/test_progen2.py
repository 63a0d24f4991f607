"""ProGen2 against its published implementation, in both directions, and against the traps of its files.

``golden/progen2.safetensors`` was written once with the modelling code of ``salesforce/progen`` (transformers 4.40): 3
layers, width 64, 16 heads, ``rotary_dim=2``, 32 rows, drawn weights under the names of its state dict. Its tokenizer
spelled `SEQUENCES` as ``1...2`` and, letter by letter backwards, as ``2...1``; each batch was padded with 0 and had
its attention mask. ``states`` are the embedding and the output of every block, ``log_likelihood`` is what its
``likelihood.py`` computes for every sequence alone. The modelling code of the Hub's repositories gave the same logits
(difference 0).
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models import weights
from plmdepth.language_models.families.progen2 import REVERSED, SPELLING, Direction, ProGen2, unfused
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.spelling.spelling import Tokens
from plmdepth.language_models.weights import load_stack
from plmdepth.objectives.autoregressive import Autoregressive
from plmdepth.proteins.protein import CANONICAL, Protein
from plmdepth.results.sequence_table import SequenceTable
from tests.certificate import Certify
from tests.family_case import SIZE, FamilyCase
from tests.golden.recipe import golden
from tests.recorder import Recorder

_FORWARD = ProGen2(name="progen2", family="progen2", objective="autoregressive", rotary_width=8, **SIZE)
FAMILY = FamilyCase(
    miniatures={"progen2": _FORWARD, "progen2_reverse": replace(_FORWARD, direction="reverse")},
    everywhere=("progen2",),
    values=("attn.v_proj", 1),
    # with an untied head; 51,200 rows at large and BFD90, of which 30 are used
    parameters={
        "progen2_small": 151_148_576,
        "progen2_medium": 764_803_616,
        "progen2_oas": 764_803_616,
        "progen2_base": 764_803_616,
        "progen2_large": 2_779_356_160,
        "progen2_bfd90": 2_779_356_160,
        "progen2_xlarge": 6_443_638_816,
    },
)

GOLDEN, PUBLISHED = golden("progen2")
SEQUENCES = ("MKTVRQERLKSIVRILER", "MADEXUGPWEK", "MXBZO")
LETTERS = slice(5, 30)
TINY = ProGen2(
    name="progen2_tiny",
    family="progen2",
    objective="autoregressive",
    n_layers=3,
    width=64,
    n_heads=16,
    rotary_width=2,
    max_length=46,
    weights="random",
)
directions = pytest.mark.parametrize("direction", ["forward", "reverse"])


def write_hub_folder(folder: Path, state: Mapping[str, Tensor]) -> Path:
    """Write two shards and a configuration under the keys of the Hub's repositories."""
    folder.mkdir()
    config = {"model_type": "progen", "embed_dim": 64, "n_layer": 3, "n_head": 16, "vocab_size_emb": 32}
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size_lm_head": 32, "rotary_dim": 2}))
    names = sorted(state)
    save_file({name: state[name] for name in names[:10]}, folder / "model-00001-of-00002.safetensors")
    save_file({name: state[name] for name in names[10:]}, folder / "model-00002-of-00002.safetensors")
    return folder


def write_first_release(folder: Path, state: Mapping[str, Tensor]) -> Path:
    """Write what a tarball of the first release holds: PyTorch's format, with the causal mask of every layer."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "progen", "n_embd": 64, "vocab_size": 32}))
    masks = {f"transformer.h.{layer}.attn.bias": torch.ones(1, 1, 48, 48).tril().bool() for layer in range(3)}
    fills = {f"transformer.h.{layer}.attn.masked_bias": torch.tensor(-1e9) for layer in range(3)}
    torch.save({**state, **masks, **fills}, folder / "pytorch_model.bin")
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hub_folder(tmp_path_factory.mktemp("progen2") / "hub", PUBLISHED)


def stack_from(folder: Path, direction: Direction = "forward") -> LayerStack:
    return load_stack(replace(TINY, weights=str(folder), direction=direction), seed=0)


def logits_of(stack: LayerStack, tokens: Tokens) -> Tensor:
    with torch.no_grad():
        return stack.logits(stack.run(tokens))


@directions
def test_states_and_logits_equal_the_published_implementations_in_a_padded_batch(
    hub: Path, direction: Direction, certify: Certify
) -> None:
    stack, recorder = stack_from(hub, direction), Recorder()
    tokens = stack.spelling.encode(SEQUENCES)
    assert tokens.ids.tolist() == GOLDEN[f"{direction}.ids"].tolist()
    with torch.no_grad():
        logits = stack.logits(stack.run(tokens, [recorder]))
    kept = tokens.attended
    ours, theirs = ([state[kept] for state in states] for states in (recorder.states, GOLDEN[f"{direction}.states"]))
    oracle = f"salesforce/progen, {direction} (golden)"
    certify("progen2", oracle, ours, theirs, logits[kept], GOLDEN[f"{direction}.logits"][kept])


def test_the_files_of_the_first_release_and_of_the_hub_give_the_same_model(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = stack_from(write_first_release(tmp_path / "tar", PUBLISHED))
    monkeypatch.setattr(weights, "snapshot_download", lambda hub_id, **_: str(hub))
    from_hub = load_stack(replace(TINY, weights="hub", hub_id="a/b"), seed=0)
    tokens = SPELLING.encode(SEQUENCES)
    assert torch.equal(logits_of(first, tokens), logits_of(from_hub, tokens))


def test_a_file_in_half_precision_is_read_in_the_precision_that_is_asked_for(tmp_path: Path) -> None:
    half = {name: tensor.half() for name, tensor in PUBLISHED.items()}
    stack = stack_from(write_hub_folder(tmp_path / "half", half))
    assert {parameter.dtype for parameter in stack.module.parameters()} == {torch.float32}
    difference = logits_of(stack, SPELLING.encode(SEQUENCES))[0] - GOLDEN["forward.logits"][0]
    assert 1e-5 < difference.abs().max() < 0.01


@pytest.mark.parametrize("wrong", ["thirds of the rows", "keys before values"])
def test_queries_keys_and_values_in_another_order_load_and_are_wrong(
    hub: Path, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def split(weight: Tensor) -> tuple[Tensor, ...]:
        query, key, value = unfused(weight)
        return weight.chunk(3) if wrong == "thirds of the rows" else (query, value, key)

    monkeypatch.setattr("plmdepth.language_models.families.progen2.unfused", split)
    tokens = SPELLING.encode(SEQUENCES)
    difference = logits_of(stack_from(hub), tokens)[0] - GOLDEN["forward.logits"][0]
    assert difference.abs().max() > 0.1


def test_rows_of_the_fused_matrix_go_where_they_belong() -> None:
    row = torch.arange(192.0)[:, None].expand(192, 64)
    query, key, value = (matrix[:, 0].tolist() for matrix in unfused(row))
    expected = [shard * 24 + number for shard in range(8) for number in range(8)]
    assert query == expected
    assert value == [number + 8 for number in expected]
    assert key == [number + 16 for number in expected]


@pytest.mark.parametrize("shape", [(190, 64), (180, 60), (192,)])
def test_a_matrix_of_another_layout_is_refused_by_name(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"qkv_proj.weight of shape .* is no ProGen2 matrix$"):
        TINY.converted({"transformer.h.0.attn.qkv_proj.weight": torch.zeros(shape)})


def test_weights_of_another_size_are_refused(hub: Path) -> None:
    with pytest.raises(InputError, match=r"do not fit progen2_tiny: missing: transformer\.h\.3"):
        load_stack(replace(TINY, n_layers=4, weights=str(hub)), seed=0)
    with pytest.raises(
        InputError, match=r"of another shape: lm_head\.bias, lm_head\.weight, transformer\.wte\.weight$"
    ):
        load_stack(replace(TINY, vocabulary_rows=64, weights=str(hub)), seed=0)


def test_its_own_layout_needs_no_conversion(hub: Path, tmp_path: Path) -> None:
    stack = stack_from(hub)
    stack.module.save_pretrained(tmp_path / "native")
    tokens = SPELLING.encode(SEQUENCES)
    for place in (tmp_path / "native", tmp_path / "native" / "model.safetensors"):
        assert torch.equal(logits_of(stack_from(place), tokens), logits_of(stack, tokens))


def test_in_reverse_a_protein_is_spelled_from_its_last_residue() -> None:
    tokens = REVERSED.encode(["MKA", "Z"])
    assert tokens.ids.tolist() == [[4, 5, 14, 16, 3], [4, 29, 3, 0, 0]]
    assert tokens.residues.tolist() == [[False, True, True, True, False], [False, True, False, False, False]]
    assert REVERSED.tokens_of_residues(tokens, 0).tolist() == [3, 2, 1]
    assert SPELLING.tokens_of_residues(SPELLING.encode(["MKA"]), 0).tolist() == [1, 2, 3]


def test_in_reverse_each_residue_is_predicted_from_those_after_it(tmp_path: Path) -> None:
    protein = Protein("a", "MXKA")
    example = Autoregressive().present([protein], REVERSED, seed=0)
    assert example.tokens.ids.tolist() == [[4, 5, 14, 27, 16, 3]]  # 2 A K X M 1
    assert example.scored.tolist() == [[True, True, False, True, False, False]]
    assert example.labels[example.scored].tolist() == [5, 14, 16]
    assert example.targets == ((3, 2, 0),)  # positions of the protein, in the order of the rows
    with SequenceTable(tmp_path / "sequences.parquet") as table:
        table.add_measured([protein], example.targets, [None])
        assert table._rows[0]["target_positions"] == [0, 2, 3]


@pytest.mark.parametrize(("direction", "affected"), [("forward", 17), ("reverse", 0)])
def test_the_first_residue_is_seen_by_all_others_or_by_none(hub: Path, direction: Direction, affected: int) -> None:
    stack = stack_from(hub, direction)
    proteins = [Protein("a", SEQUENCES[0]), Protein("a", "W" + SEQUENCES[0][1:])]
    one, two = (Autoregressive().present([protein], stack.spelling, seed=0) for protein in proteins)
    difference = (logits_of(stack, one.tokens) - logits_of(stack, two.tokens))[one.scored].abs().amax(-1)
    assert len(difference) == 18
    assert (difference > 1e-4).sum() == affected


@directions
def test_the_published_likelihood_is_that_of_the_scored_rows_over_all_letters(hub: Path, direction: Direction) -> None:
    stack = stack_from(hub, direction)
    example = Autoregressive().present([Protein("a", SEQUENCES[0])], stack.spelling, seed=0)
    assert set(SEQUENCES[0]) <= set(CANONICAL)
    scores = logits_of(stack, example.tokens)[example.scored][:, LETTERS].log_softmax(-1)
    found = scores.gather(-1, example.labels[example.scored][:, None] - LETTERS.start).mean()
    torch.testing.assert_close(found, GOLDEN[f"{direction}.log_likelihood"][0], rtol=0, atol=1e-5)
    assert set(stack.spelling.amino_acids.tolist()) < set(range(LETTERS.start, LETTERS.stop))
