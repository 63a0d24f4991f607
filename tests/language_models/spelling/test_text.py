"""Text by a tokenizer that the test makes itself: no network, no weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import BertTokenizerFast

from plmdepth.cells.inputs import check_dataset, check_objective
from plmdepth.errors import InputError
from plmdepth.language_models.families.bert import BERT, ENGLISH
from plmdepth.language_models.spelling.text import TextSpelling
from plmdepth.language_models.weights import load_stack
from plmdepth.metrics.attention_decomposition import AttentionDecomposition
from plmdepth.objectives.masked import Masked
from plmdepth.objectives.whole import Whole
from plmdepth.proteins.datasets.fasta import FastaDataset
from plmdepth.proteins.datasets.text import TextDataset
from plmdepth.proteins.protein import Protein

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "layer", "read", "##s", "word", "."]
SPELLED = replace(ENGLISH, prefix=(2,), suffix=(3,), pad=0, mask=4)
MODEL = BERT(
    name="small_text",
    family="bert",
    objective="masked",
    n_layers=2,
    width=16,
    n_heads=2,
    max_length=10,
    n_positions=16,
    vocabulary="english",
    weights="random",
    reads="text",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(vocab={word: index for index, word in enumerate(WORDS)}).save_pretrained(tmp_path)
    return tmp_path


def test_text_is_spelled_in_pieces_between_special_tokens_and_cut_at_the_end(folder: Path) -> None:
    spelling = TextSpelling.of(SPELLED, folder, limit=4, model="small_text")
    tokens = spelling.encode(["The layer reads words.", "the"])
    assert tokens.ids.tolist() == [[2, 5, 6, 7, 8, 3], [2, 5, 3, 0, 0, 0]]
    assert tokens.residues.tolist() == [[False, True, True, True, True, False], [False, True, *[False] * 4]]
    assert tokens.attended.sum(1).tolist() == [6, 3]
    assert spelling.n_tokens(100) == 6
    assert spelling.unit == "token"


def test_a_folder_without_a_tokenizer_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has none that can be read") as raised:
        TextSpelling.of(SPELLED, tmp_path, limit=4, model="small_text")
    assert "\n" not in str(raised.value)


def test_a_model_reads_text_whole_and_measures_its_words(folder: Path) -> None:
    letters = load_stack(replace(MODEL, reads="residues"), seed=0)
    letters.module.save_pretrained(folder)
    stack = load_stack(replace(MODEL, weights=str(folder)), seed=0)
    texts = (Protein("1", "The layer reads words. The word reads the layer."), Protein("2", "the layer reads the word"))
    example = Whole().present(texts, stack.spelling, seed=0)
    metric = AttentionDecomposition().bound(stack)
    together = metric.measure(stack, example).curves
    assert not together[:, :, 1:].isnan().any()
    alone = metric.measure(stack, Whole().present(texts[1:], stack.spelling, seed=0)).curves
    torch.testing.assert_close(together[1:], alone, rtol=1e-3, atol=1e-5, equal_nan=True)


def test_text_needs_a_tokenizer_that_random_weights_do_not_have() -> None:
    with pytest.raises(InputError, match=r"give model\.weights=PATH"):
        load_stack(MODEL, seed=0)


def test_text_and_proteins_are_not_mixed_up() -> None:
    text, fasta = TextDataset(name="text", path="x"), FastaDataset(name="fasta", path="x")
    check_dataset(MODEL, text)
    check_dataset(replace(MODEL, reads="residues"), fasta)
    with pytest.raises(InputError, match="dataset=text"):
        check_dataset(MODEL, fasta)
    with pytest.raises(InputError, match="a model that reads text"):
        check_dataset(replace(MODEL, reads="residues"), text)
    check_objective(MODEL, Whole())
    with pytest.raises(InputError, match="objective=whole"):
        check_objective(MODEL, Masked())


def test_what_is_read_decides_numbers_and_residues_leave_old_ids_alone() -> None:
    assert MODEL.facts()["reads"] == "text"
    assert "reads" not in replace(MODEL, reads="residues").facts()
