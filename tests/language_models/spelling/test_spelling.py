from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import EsmTokenizer

from plmdepth.language_models.families import esm2, progen2
from plmdepth.language_models.spelling.spelling import Spelling
from plmdepth.proteins.protein import CANONICAL

# vocab.txt as published with the ESM-2 checkpoints
ESM2_VOCABULARY = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>"]
PROGEN2_LETTERS = dict(zip("ABCDEFGHIKLMNOPQRSTUVWXYZ", range(5, 30), strict=True))
SEQUENCES = st.text(alphabet=CANONICAL + "XBUZOJ", min_size=1, max_size=40)
each_spelling = pytest.mark.parametrize("spelling", [esm2.SPELLING, progen2.SPELLING], ids=["esm2", "progen2"])


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> EsmTokenizer:
    path = tmp_path_factory.mktemp("esm2") / "vocab.txt"
    path.write_text("\n".join(ESM2_VOCABULARY), encoding="utf-8")
    return EsmTokenizer(str(path))


@given(sequences=st.lists(st.text(alphabet=CANONICAL + "XBUZO", min_size=1, max_size=40), min_size=1, max_size=4))
@settings(deadline=None, max_examples=50)
def test_esm2_is_spelled_as_its_published_tokenizer_does(tokenizer: EsmTokenizer, sequences: list[str]) -> None:
    expected = tokenizer(sequences, padding=True, return_tensors="pt")
    tokens = esm2.SPELLING.encode(sequences)
    assert tokens.ids.tolist() == expected["input_ids"].tolist()
    assert tokens.attended.long().tolist() == expected["attention_mask"].tolist()


@pytest.mark.parametrize("letter", list(CANONICAL + "XBUZO"))
def test_each_letter_has_the_id_of_the_published_tokenizer(tokenizer: EsmTokenizer, letter: str) -> None:
    assert esm2.SPELLING.letters[letter] == tokenizer.convert_tokens_to_ids(letter)


def test_the_special_tokens_are_those_of_the_published_tokenizer(tokenizer: EsmTokenizer) -> None:
    spelling = esm2.SPELLING
    assert spelling.prefix == (tokenizer.cls_token_id,)
    assert spelling.suffix == (tokenizer.eos_token_id,)
    assert (spelling.pad, spelling.mask) == (tokenizer.pad_token_id, tokenizer.mask_token_id)


def test_progen2_is_spelled_between_its_termini() -> None:
    tokens = progen2.SPELLING.encode(["MKZ", "A"])
    assert tokens.ids.tolist() == [[3, 16, 14, 29, 4], [3, 5, 4, 0, 0]]
    assert dict(progen2.SPELLING.letters) == PROGEN2_LETTERS
    assert progen2.SPELLING.mask is None


@each_spelling
@given(sequences=st.lists(SEQUENCES, min_size=1, max_size=4))
@settings(deadline=None, max_examples=50)
def test_every_residue_is_one_token(spelling: Spelling, sequences: list[str]) -> None:
    tokens = spelling.encode(sequences)
    assert tokens.residues.sum(dim=1).tolist() == [len(sequence) for sequence in sequences]
    assert tokens.attended.sum(dim=1).tolist() == [len(sequence) + 2 for sequence in sequences]
    assert tokens.ids.shape[1] == max(map(len, sequences)) + 2


@pytest.mark.parametrize("sequence", ["mktv", "MKaaaV", "M-K", "MJ1*", "<mask>"])
@each_spelling
def test_letters_that_a_family_cannot_spell_are_still_one_token_each(spelling: Spelling, sequence: str) -> None:
    tokens = spelling.encode([sequence])
    unknown = spelling.letters["X"]
    expected = [spelling.letters.get(letter, unknown) for letter in sequence]
    assert tokens.ids[0, 1:-1].tolist() == expected
    assert unknown in expected


@each_spelling
def test_j_is_read_as_x(spelling: Spelling) -> None:
    assert spelling.encode(["MJK"]).ids.tolist() == spelling.encode(["MXK"]).ids.tolist()


@each_spelling
def test_residue_and_padding_masks_agree_with_the_tokens(spelling: Spelling) -> None:
    tokens = spelling.encode(["MKTV", "AX"])
    assert tokens.residues.tolist() == [
        [False, True, True, True, True, False],
        [False, True, True, False, False, False],
    ]
    assert tokens.attended.tolist() == [[True] * 6, [True] * 4 + [False] * 2]
    assert (tokens.ids == spelling.pad).tolist() == (~tokens.attended).tolist()


def test_an_unknown_residue_is_a_residue() -> None:
    assert esm2.SPELLING.encode(["XXX"]).residues.sum() == 3


@each_spelling
def test_padding_does_not_change_how_a_protein_is_spelled(spelling: Spelling) -> None:
    alone, beside = spelling.encode(["MKTV"]), spelling.encode(["MKTV", "A" * 30])
    assert beside.ids[0, :6].tolist() == alone.ids[0].tolist()
    assert set(beside.ids[0, 6:].tolist()) == {spelling.pad}


def test_amino_acids_are_in_alphabetical_order() -> None:
    expected = [5, 23, 13, 9, 18, 6, 21, 12, 15, 4, 20, 17, 14, 16, 10, 8, 11, 7, 22, 19]
    assert esm2.SPELLING.amino_acids.tolist() == expected
    assert progen2.SPELLING.amino_acids.tolist() == [PROGEN2_LETTERS[letter] for letter in "ACDEFGHIKLMNPQRSTVWY"]


def test_a_longer_prefix_and_suffix_shift_the_residues() -> None:
    spelling = replace(esm2.SPELLING, prefix=(0, 31), suffix=())
    tokens = spelling.encode(["MK", "A"])
    assert tokens.ids.tolist() == [[0, 31, 20, 15], [0, 31, 5, 1]]
    assert tokens.residues.tolist() == [[False, False, True, True], [False, False, True, False]]


@pytest.mark.parametrize("letter", ["A", "Y", "X"])
def test_a_spelling_without_a_letter_that_it_needs_is_refused(letter: str) -> None:
    letters = {name: token for name, token in esm2.SPELLING.letters.items() if name != letter}
    with pytest.raises(ValueError, match=f"missing: .*{letter}"):
        replace(esm2.SPELLING, letters=MappingProxyType(letters))
