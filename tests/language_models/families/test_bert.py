"""BERT: its spelling against the published tokenizer and its traps, and files with more than a language model."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from transformers import BertTokenizer

from plmdepth.errors import InputError
from plmdepth.language_models.families.bert import BERT, ENGLISH, PROTEIN, VOCABULARY
from plmdepth.language_models.weights import load_stack
from plmdepth.proteins.protein import CANONICAL
from tests.family_case import SIZE, FamilyCase
from tests.recorder import watched
from tests.stacks import ALL, stack_of

FAMILY = FamilyCase(
    miniatures={
        "prot_bert": BERT(
            name="prot_bert", family="prot_bert", objective="masked", vocabulary="protein", n_positions=130, **SIZE
        )
    },
    values=("attention.self.value", 1),
    norms=lambda block: (block.attention.output.LayerNorm, block.output.LayerNorm),
    # as transformers' language model has them, without pooling and the head for sentences; the tied decoder counts once
    parameters={
        "prot_bert": 419_933_214,
        "prot_bert_bfd": 419_933_214,
        "bert_base": 109_514_298,
        "bert_base_text": 109_514_298,
        "minilm_l6": 22_744_506,
    },
)

# vocab.txt as published with ProtBERT
PUBLISHED = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"LAGVESIKRDTPNQFYMHCWXUBZO"]


def tokenizer_of(folder: Path, words: list[str], lower: bool = False) -> BertTokenizer:
    path = folder / "vocab.txt"
    path.write_text("\n".join(words), encoding="utf-8")
    return BertTokenizer(str(path), do_lower_case=lower)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizer:
    return tokenizer_of(tmp_path_factory.mktemp("prot_bert"), PUBLISHED)


def test_the_vocabulary_is_the_published_one() -> None:
    assert list(VOCABULARY) == PUBLISHED


@given(sequences=st.lists(st.text(alphabet=CANONICAL + "XBUZO", min_size=1, max_size=40), min_size=1, max_size=4))
@settings(deadline=None, max_examples=50)
def test_proteins_are_spelled_as_published(tokenizer: BertTokenizer, sequences: list[str]) -> None:
    texts = [" ".join(re.sub("[UZOB]", "X", sequence)) for sequence in sequences]
    expected = tokenizer(texts, padding=True, return_tensors="pt")
    tokens = PROTEIN.encode(sequences)
    assert tokens.ids.tolist() == expected["input_ids"].tolist()
    assert tokens.attended.long().tolist() == expected["attention_mask"].tolist()


def test_the_special_tokens_are_those_of_the_published_tokenizer(tokenizer: BertTokenizer) -> None:
    assert PROTEIN.prefix == (tokenizer.cls_token_id,)
    assert PROTEIN.suffix == (tokenizer.sep_token_id,)
    assert (PROTEIN.pad, PROTEIN.mask) == (tokenizer.pad_token_id, tokenizer.mask_token_id)


def test_the_published_tokenizer_reads_a_protein_without_spaces_as_unknown_and_we_do_not(
    tokenizer: BertTokenizer,
) -> None:
    unknown = tokenizer.unk_token_id
    assert tokenizer("MKTV")["input_ids"] == [*PROTEIN.prefix, unknown, *PROTEIN.suffix]
    assert PROTEIN.encode(["MKTV"]).ids.tolist() == [tokenizer("M K T V")["input_ids"]]
    assert unknown not in PROTEIN.encode([CANONICAL + "XBUZOJ"]).ids


def test_lower_casing_would_make_every_residue_unknown(tmp_path: Path) -> None:
    careless = tokenizer_of(tmp_path, PUBLISHED, lower=True)
    assert set(careless("M K T V")["input_ids"][1:-1]) == {careless.unk_token_id}


def test_the_english_twin_reads_letters_of_its_own_vocabulary(tmp_path: Path) -> None:
    # the layout of bert-base-uncased's vocab.txt: [unused] rows, special tokens at 100, letters from 1037 on
    words = [f"[unused{row}]" for row in range(1063)]
    words[0], words[100:104] = "[PAD]", ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words[1037:1063] = "abcdefghijklmnopqrstuvwxyz"
    english = tokenizer_of(tmp_path, words, lower=True)
    assert ENGLISH.encode([CANONICAL + "X"]).ids.tolist() == [english(" ".join(CANONICAL + "X"))["input_ids"]]
    assert (ENGLISH.pad, ENGLISH.mask) == (english.pad_token_id, english.mask_token_id)


def published_folder(folder: Path, **extra: torch.Tensor) -> None:
    """Write a miniature as old files are: norms by their first names, and heads that are not language models."""
    stack = stack_of("prot_bert")
    stack.module.config.save_pretrained(folder)
    state = {name: value.clone() for name, value in stack.module.state_dict().items() if "decoder" not in name}
    for name in [name for name in state if "LayerNorm" in name]:
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        state[old] = state.pop(name)
    heads = {"bert.pooler.dense.weight": torch.ones(32, 32), "cls.seq_relationship.bias": torch.ones(2)}
    save_file({**state, **heads, **extra}, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_published_file_with_other_heads_and_old_names_is_read(tmp_path: Path) -> None:
    published_folder(tmp_path)
    read = load_stack(replace(ALL["prot_bert"], weights=str(tmp_path)), seed=0)
    ours, theirs = watched(stack_of("prot_bert")).states, watched(read).states
    assert all(torch.equal(mine, other) for mine, other in zip(ours, theirs, strict=True))
    assert torch.equal(read.logits(theirs[-1]), stack_of("prot_bert").logits(ours[-1]))


def test_a_file_with_anything_else_is_refused(tmp_path: Path) -> None:
    published_folder(tmp_path, **{"bert.adapter.weight": torch.ones(1)})
    with pytest.raises(InputError, match=r"unknown: bert\.adapter\.weight"):
        load_stack(replace(ALL["prot_bert"], weights=str(tmp_path)), seed=0)


@pytest.mark.parametrize("family", ["prot_bert", "prot_albert"])
def test_a_protein_longer_than_the_table_of_positions_is_refused(family: str) -> None:
    assert replace(ALL[family], max_length=128)
    with pytest.raises(InputError, match=r"max_length=129: the positions of .* end at 128 residues"):
        replace(ALL[family], max_length=129)
