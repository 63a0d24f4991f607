"""Sapiens: fairseq's files under transformers' names, against the package's own reader.

`golden/sapiens.safetensors` holds what sapiens 1.0.3 on fairseq 0.10.2 gave for two chains, with the published weights
of both models and with drawn ones; `golden/make_antibodies.py` wrote it.
"""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.families.sapiens import SPELLING, VOCABULARY, Sapiens
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.spelling.spelling import Tokens
from plmdepth.language_models.weights import load_stack
from tests.certificate import Certify
from tests.family_case import SIZE, FamilyCase
from tests.golden.recipe import golden
from tests.recorder import Recorder

SMALL = Sapiens(
    name="sapiens", family="sapiens", objective="masked", chain="heavy", mlp_width=64, n_positions=130, **SIZE
)
FAMILY = FamilyCase(
    miniatures={"sapiens": SMALL},
    values=("attention.self.value", 1),
    norms=lambda block: (block.attention.output.LayerNorm, block.output.LayerNorm),
    # as fairseq has them, and a row of 128 for the one type of tokens
    parameters={"sapiens_vh": 568_985, "sapiens_vl": 566_937},
)
HEAVY = replace(SMALL, n_layers=4, width=128, n_heads=8, mlp_width=256, n_positions=144, weights="package")
LIGHT = replace(HEAVY, chain="light", n_positions=128, max_length=126)


def installed() -> bool:
    try:
        return HEAVY.package.installed("sapiens").exists()
    except InputError:
        return False


needs_package = pytest.mark.skipif(not installed(), reason="sapiens==1.0.3 is not installed (make antibody)")


def read_as_given(stack: LayerStack, ids: Tensor) -> tuple[list[Tensor], Tensor]:
    tokens = Tokens(ids, attended=ids != SPELLING.pad, residues=ids > 3)
    seen = Recorder()
    with torch.no_grad():
        logits = stack.logits(stack.run(tokens, [seen]))
    return [state[tokens.attended] for state in seen.states], logits[tokens.attended]


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """The drawn weights of the golden file as fairseq writes them, its options with them."""
    state = golden("sapiens")[1]
    state["decoder.lm_head.weight"] = state["decoder.sentence_encoder.embed_tokens.weight"]
    torch.save({"args": Namespace(arch="roberta_small"), "model": state}, tmp_path / "checkpoint_vh.pt")
    return tmp_path / "checkpoint_vh.pt"


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_states_and_logits_equal_the_original_code(drawn: Path, attention: str, certify: Certify) -> None:
    theirs, _ = golden("sapiens")
    stack = load_stack(replace(HEAVY, weights=str(drawn), attention=attention), seed=0)
    states, logits = read_as_given(stack, theirs["drawn.ids"])
    oracle = f"sapiens 1.0.3, {attention} (golden)"
    certify("sapiens", oracle, states, list(theirs["drawn.states"]), logits, theirs["drawn.logits"])


@needs_package
@pytest.mark.parametrize(("name", "model"), [("vh", HEAVY), ("vl", LIGHT)])
def test_the_published_weights_give_the_states_of_the_original_code(name: str, model: Sapiens) -> None:
    theirs, _ = golden("sapiens")
    states, logits = read_as_given(load_stack(model, seed=0), theirs[f"{name}.ids"])
    for mine, other in zip(states, theirs[f"{name}.states"], strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)
    torch.testing.assert_close(logits, theirs[f"{name}.logits"], rtol=1e-5, atol=1e-5)


@needs_package
def test_the_vocabulary_is_that_of_the_package() -> None:
    words = (HEAVY.package.installed("sapiens").parent / "dict.txt").read_text(encoding="utf-8").split()[::2]
    assert list(VOCABULARY) == ["<s>", "<pad>", "</s>", "<unk>", *words, "<mask>"]


def test_x_is_hidden_as_the_package_hides_it_and_other_letters_are_unknown() -> None:
    assert SPELLING.encode(["ACXBZUOJY"]).ids.tolist() == [[0, 4, 5, 24, 3, 3, 3, 3, 3, 23, 2]]


def test_a_chain_longer_than_the_table_of_positions_is_refused() -> None:
    assert replace(HEAVY, max_length=142)
    with pytest.raises(InputError, match=r"max_length=143: the positions of .* end at 142 residues"):
        replace(HEAVY, max_length=143)


def test_another_file_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {"decoder.lm_head.bias": torch.zeros(25)}}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="not in the layout of fairseq's RoBERTa"):
        load_stack(replace(HEAVY, weights=str(tmp_path / "other.pt")), seed=0)
