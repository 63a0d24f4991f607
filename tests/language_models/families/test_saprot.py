"""SaProt: its vocabulary of pairs, how residues are hidden, and fair-esm's ESM-2 over its tokens."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import EsmTokenizer

from plmdepth.errors import InputError
from plmdepth.language_models.families.saprot import (
    SPELLING,
    STRUCTURE_SPELLING,
    VOCABULARY,
    SaProt,
    summed_over_structures,
)
from plmdepth.language_models.weights import load_stack
from plmdepth.objectives.masked import Masked
from plmdepth.proteins.protein import CANONICAL, Protein
from tests.certificate import Certify
from tests.family_case import SIZE, FamilyCase
from tests.recorder import watched
from tests.stacks import ALL, example_for, stack_of

_SAPROT = SaProt(name="saprot", family="saprot", objective="masked", **SIZE)
FAMILY = FamilyCase(
    miniatures={"saprot": _SAPROT},
    variants={"saprot_both": replace(_SAPROT, modality="both")},
    values=("attention.self.value", 1),
    # ESM-2's and 413 more tokens, each a row of the embedding and a bias of the head
    parameters={"saprot_35m": 33_501_394 + 413 * 481, "saprot_650m": 651_043_254 + 413 * 1281},
)

# The tokens in the order in which the published loader makes them.
PUBLISHED = [
    *("<cls>", "<pad>", "<eos>", "<unk>", "<mask>"),
    *("".join(pair) for pair in itertools.product("ACDEFGHIKLMNPQRSTVWY#", "pynwrqhgdlvtmfsaeikc#")),
]
MASK_TOKEN, HIDDEN = 4, 445  # <mask>, which is never used, and ##


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> EsmTokenizer:
    path = tmp_path_factory.mktemp("saprot") / "vocab.txt"
    path.write_text("\n".join(PUBLISHED), encoding="utf-8")
    return EsmTokenizer(str(path))


def test_the_vocabulary_is_the_published_one() -> None:
    assert list(VOCABULARY) == PUBLISHED
    assert len(VOCABULARY) == 446
    ids = {token: VOCABULARY.index(token) for token in ("Ap", "Ay", "A#", "Cp", "Y#", "#p", "##")}
    assert ids == {"Ap": 5, "Ay": 6, "A#": 25, "Cp": 26, "Y#": 424, "#p": 425, "##": 445}


def test_a_protein_without_a_structure_is_spelled_with_unknown_letters(tokenizer: EsmTokenizer) -> None:
    sequences = ["MEVQ", "A"]
    expected = tokenizer(["M#E#V#Q#", "A#"], padding=True, return_tensors="pt")
    tokens = SPELLING.encode(sequences)
    assert tokens.ids.tolist() == expected["input_ids"].tolist()
    assert tokens.attended.long().tolist() == expected["attention_mask"].tolist()
    assert tokens.residues.sum(1).tolist() == [4, 1]


def test_a_protein_with_its_structure_is_spelled_as_published(tokenizer: EsmTokenizer) -> None:
    # the example of the published usage notes
    expected = tokenizer("M#EvVpQpL#VyQdYaKv", return_tensors="pt")["input_ids"]
    tokens = SPELLING.encode_structures(["MEVQLVQYK"], ["#vpp#ydav"])
    assert tokens.ids.tolist() == expected.tolist()
    assert SPELLING.encode_structures(["MEVQLVQYK"], ["#VPP#YDAV"]).ids.tolist() == expected.tolist()


def test_what_is_no_amino_acid_is_read_as_unknown_and_is_a_residue() -> None:
    tokens = SPELLING.encode(["MXUBJ-m"])
    assert tokens.ids[0, 2:-1].tolist() == [HIDDEN] * 6
    assert tokens.residues.sum() == 7
    assert SPELLING.encode_structures(["X"], ["b"]).ids[0, 1] == HIDDEN
    with pytest.raises(ValueError, match="zip"):
        SPELLING.encode_structures(["MK"], ["d"])


def test_a_hidden_residue_keeps_its_structural_letter() -> None:
    shown = SPELLING.encode_structures(["MEV"], ["#vp"]).ids
    hidden = SPELLING.hidden(shown)[0, 1:-1].tolist()
    assert [VOCABULARY[token] for token in hidden] == ["##", "#v", "#p"]
    assert SPELLING.hidden(torch.tensor([VOCABULARY.index("#d")])) == VOCABULARY.index("#d")


def test_without_a_structure_hidden_residues_become_unknown_ones_never_the_mask_token() -> None:
    example = Masked(0.3).present([Protein("a", CANONICAL * 2), Protein("b", "MXK")], SPELLING, seed=0)
    assert set(example.tokens.ids[example.scored].tolist()) == {HIDDEN} == {SPELLING.mask}
    assert MASK_TOKEN not in example.tokens.ids
    assert set(example.labels[example.scored].tolist()) <= set(SPELLING.amino_acids.tolist())
    plain = SPELLING.encode([CANONICAL * 2, "MXK"]).ids
    assert torch.equal(example.tokens.ids[~example.scored], plain[~example.scored])


def test_amino_acids_are_the_twenty_tokens_without_a_structure() -> None:
    assert [VOCABULARY[token] for token in SPELLING.amino_acids.tolist()] == [f"{letter}#" for letter in CANONICAL]


def test_no_pair_is_treated_as_a_mask_token() -> None:
    stack = stack_of("saprot")
    pairs = [VOCABULARY[number] for number in range(5, 446)]
    tokens = SPELLING.encode_structures(["".join(pair[0] for pair in pairs)], ["".join(pair[1] for pair in pairs)])
    assert tokens.ids[0, 1:-1].tolist() == list(range(5, 446))
    with torch.no_grad():
        state, _ = stack.embed(tokens)
        words = stack.module.get_parameter("esm.embeddings.word_embeddings.weight")[tokens.ids]
    torch.testing.assert_close(state, 0.88 * words, rtol=1e-5, atol=1e-6)
    assert ALL["saprot"].architecture_config().mask_token_id == MASK_TOKEN


@pytest.mark.parametrize("fraction", [0.1, 0.9])
def test_hidden_residues_have_an_embedding_and_rescale_nothing(fraction: float) -> None:
    stack = stack_of("saprot")
    tokens = Masked(fraction).present([Protein("a", CANONICAL)], stack.spelling, seed=0).tokens
    with torch.no_grad():
        state, _ = stack.embed(tokens)
        words = stack.module.get_parameter("esm.embeddings.word_embeddings.weight")[tokens.ids]
    torch.testing.assert_close(state, 0.88 * words, rtol=1e-5, atol=1e-6)
    assert state[tokens.ids == HIDDEN].abs().max() > 0.01


def test_a_checkpoint_of_other_tokens_is_refused_by_name(tmp_path: Path) -> None:
    load_stack(ALL["esm2"], seed=0).module.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="its vocab_size is 33, expected 446"):
        load_stack(replace(ALL["saprot"], weights=str(tmp_path)), seed=0)


def fair_esm_twin() -> Any:
    """Return fair-esm's ESM-2 over SaProt's tokens, as SaProt's authors build it for their .pt files."""
    esm = pytest.importorskip("esm", reason="fair-esm is not installed (pip install 'plmdepth[oracle]')")
    alphabet = esm.data.Alphabet(
        standard_toks=PUBLISHED, prepend_toks=[], append_toks=[], prepend_bos=True, append_eos=True, use_msa=False
    )
    alphabet.all_toks = alphabet.all_toks[:-2]  # two tokens that fill up a multiple of eight
    alphabet.tok_to_idx = {token: number for number, token in enumerate(alphabet.all_toks)}
    twin = esm.model.esm2.ESM2(num_layers=6, embed_dim=32, attention_heads=4, alphabet=alphabet).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.copy_((parameter.ndim == 1) + torch.randn(parameter.shape, generator=generator) * 0.2)
    return twin


def test_states_and_logits_of_its_own_file_equal_fair_esm_in_a_padded_masked_batch(
    tmp_path: Path, certify: Certify
) -> None:
    twin = fair_esm_twin()
    config = {"num_layers": 6, "embed_dim": 32, "attention_heads": 4, "token_dropout": True}
    torch.save({"model": twin.state_dict(), "config": config}, tmp_path / "saprot.pt")
    stack = load_stack(replace(ALL["saprot"], weights=str(tmp_path / "saprot.pt")), seed=0)
    tokens = example_for(stack).tokens
    kept = tokens.attended
    assert (tokens.ids == HIDDEN).any()
    with torch.no_grad():
        theirs = twin(tokens.ids, repr_layers=list(range(7)))
    ours = watched(stack).states
    states = [state[kept] for state in (*ours[:-1], stack.anatomy.norm(ours[-1]))]
    expected = [theirs["representations"][layer][kept] for layer in range(7)]
    logits = stack.logits(ours[-1])[kept], theirs["logits"][kept]
    certify("saprot", "fair-esm over SaProt's alphabet", states, expected, *logits)


def with_structure(sequence: str, letters: str) -> Protein:
    codes = tuple("acdefghiklmnpqrstvwy".index(letter) for letter in letters)
    return Protein("p", sequence, structure_tokens=codes, structure_alphabet="3di")


def test_with_its_structure_a_protein_is_spelled_in_pairs_and_predicted_over_all_letters() -> None:
    protein = with_structure("MEVA", "dvpa")
    tokens = STRUCTURE_SPELLING.spell([protein])
    assert [VOCABULARY[token] for token in tokens.ids[0].tolist()] == ["<cls>", "Md", "Ev", "Vp", "Aa", "<eos>"]
    targets = torch.tensor([[False, False, True, False, False, False]])
    presented = STRUCTURE_SPELLING.present(tokens, targets)
    assert [VOCABULARY[token] for token in presented.tokens.ids[0].tolist()][2] == "#v"
    assert [VOCABULARY[token] for token in presented.labels[0].tolist()][1:-1] == ["M#", "E#", "V#", "A#"]


def test_a_residues_probability_is_the_sum_over_structural_letters() -> None:
    logits = torch.randn((3, len(VOCABULARY)), generator=torch.Generator().manual_seed(0)).double()
    everything = logits.softmax(-1)
    summed = summed_over_structures(logits)[:, SPELLING.amino_acids].softmax(-1)
    for column, residue in enumerate(CANONICAL):
        mine = everything[:, [VOCABULARY.index(residue + letter) for letter in "pynwrqhgdlvtmfsaeikc#"]].sum(-1)
        total = sum(
            everything[:, VOCABULARY.index(other + letter)] for other in CANONICAL for letter in "pynwrqhgdlvtmfsaeikc#"
        )
        torch.testing.assert_close(summed[:, column], mine / total)


def test_the_structure_changes_the_prediction_and_the_same_residues_are_hidden() -> None:
    stack = load_stack(replace(ALL["saprot"], modality="both"), seed=1)
    proteins = [with_structure("MKTVRQERLKSIVRILERSK", letters * 20) for letters in "dv"]
    examples = [Masked(0.3).present([protein], stack.spelling, 0) for protein in proteins]
    assert torch.equal(examples[0].scored, examples[1].scored)
    with torch.no_grad():
        first, second = (stack.logits(stack.run(example.tokens))[0, example.scored[0]] for example in examples)
    assert (first.softmax(-1) - second.softmax(-1)).abs().max() > 1e-6
