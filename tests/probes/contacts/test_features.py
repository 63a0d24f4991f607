"""What a regression reads, against loops, against Hugging Face's own attentions and ESM's own contact head."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.probes.contacts.features import (
    average_product_corrected,
    check_attention,
    pair_features,
    read_pairs,
    symmetrised,
)
from plmdepth.probes.sequence_models import check_reads_sequences
from plmdepth.proteins.tasks.contacts import ContactProtein, Pairs
from tests.probes.contacts.planted import CPU, protein
from tests.stacks import ALL, own_forward, stack_of

CLOSE = {"rtol": 0, "atol": 1e-6}


def by_loops(attention: list[list[float]]) -> list[list[float]]:
    """Return S_ij - S_i. S_.j / S_.. of S = A + A^T."""
    n = len(attention)
    both = [[attention[i][j] + attention[j][i] for j in range(n)] for i in range(n)]
    total = sum(both[i][j] for i in range(n) for j in range(n))
    return [[both[i][j] - sum(both[i]) * sum(both[k][j] for k in range(n)) / total for j in range(n)] for i in range(n)]


def features_of(stack: LayerStack, each: ContactProtein, pairs: Pairs) -> list[Tensor]:
    found: list[Tensor] = []
    layers = range(1, stack.n_layers + 1)
    read_pairs(stack, each, pairs, layers, lambda layer, read: found.insert(layer - 1, read), CPU)
    return found


def test_maps_are_symmetrised_and_corrected_as_by_loops() -> None:
    maps = torch.rand(3, 7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(-1)
    corrected = average_product_corrected(symmetrised(maps))
    for ours, attention in zip(corrected, maps, strict=True):
        torch.testing.assert_close(ours, torch.tensor(by_loops(attention.tolist()), dtype=torch.float64))
    assert corrected.sum(-1).abs().max() < 1e-12  # a corrected map has nothing left in its rows


def test_a_head_that_attends_to_no_residue_says_nothing_of_any_pair() -> None:
    assert torch.equal(average_product_corrected(torch.zeros(2, 4, 4)), torch.zeros(2, 4, 4))


def test_features_are_of_residues_alone_and_in_the_order_of_pairs() -> None:
    attention = torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    residues, first, second = torch.tensor([3, 1, 2]), torch.tensor([0, 0]), torch.tensor([2, 1])
    found = pair_features(attention, residues, first, second)
    for head in range(2):
        order = residues.tolist()
        expected = by_loops([[float(attention[head, i, j]) for j in order] for i in order])
        assert found[:, head].tolist() == pytest.approx([expected[0][2], expected[0][1]])


def test_features_are_made_from_the_attentions_that_hugging_face_returns() -> None:
    stack, each = stack_of("esm2"), protein(0)
    pairs = each.pairs(6)
    tokens = stack.spelling.encode([each.protein.sequence])
    returned = own_forward(stack, tokens, output_attentions=True).attentions
    for ours, attentions in zip(features_of(stack, each, pairs), returned, strict=True):
        among = attentions[0, :, 1:-1, 1:-1].double()
        for head, attention in enumerate(among):
            expected = torch.tensor(by_loops(attention.tolist()), dtype=torch.float64)[pairs.first, pairs.second]
            torch.testing.assert_close(ours[:, head].double(), expected, **CLOSE)


def test_features_are_what_the_contact_head_of_esm_reads() -> None:
    stack, each = stack_of("esm2"), protein(0)
    module: Any = stack.module
    tokens = stack.spelling.encode([each.protein.sequence])
    attentions = own_forward(stack, tokens, output_attentions=True).attentions
    read: list[Tensor] = []
    head = module.esm.contact_head
    head.regression.register_forward_pre_hook(lambda _module, inputs: read.append(inputs[0]))
    head(tokens.ids, torch.stack(attentions, dim=1))
    pairs = each.pairs(6)
    theirs = read[0][0, pairs.first, pairs.second]  # [pair, layer x head]
    torch.testing.assert_close(torch.cat(features_of(stack, each, pairs), dim=1), theirs, **CLOSE)


@pytest.mark.parametrize("family", ["esm2", "progen2", "progen2_reverse", "prot_xlnet", "prot_t5_encoder", "esmc"])
def test_padding_changes_nothing(family: str) -> None:
    stack, each = stack_of(family), protein(0, 30)
    pairs = each.pairs(6)
    tokens = stack.spelling.encode([protein(1, 45).protein.sequence, each.protein.sequence])
    residues = stack.spelling.tokens_of_residues(tokens, 1)
    first, second = torch.from_numpy(pairs.first), torch.from_numpy(pairs.second)
    padded: list[Tensor] = []

    class Reader:
        needs = frozenset({"attention_scores"})

        def embedded(self, state: Tensor) -> None: ...

        def observe(self, view: Any) -> None:
            padded.append(pair_features(view.attention_scores.probabilities[1], residues, first, second))

    with torch.no_grad():
        stack.run(tokens, [Reader()])  # type: ignore[list-item]
    for alone, together in zip(features_of(stack, each, pairs), padded, strict=True):
        torch.testing.assert_close(alone, together, **CLOSE)


@pytest.mark.parametrize("family", ["progen2", "progen2_reverse"])
def test_in_a_causal_model_a_pair_has_what_the_later_token_gives_to_the_earlier(family: str) -> None:
    stack, each = stack_of(family), protein(0, 20)
    tokens = stack.spelling.encode([each.protein.sequence])
    place = stack.spelling.tokens_of_residues(tokens, 0)
    among = own_forward(stack, tokens, output_attentions=True).attentions[0][0][:, place[:, None], place]
    later = torch.maximum(among, among.transpose(-1, -2))  # one of the two is 0
    later.diagonal(dim1=-2, dim2=-1).mul_(2)
    pairs = each.pairs(6)
    expected = average_product_corrected(later)[:, pairs.first, pairs.second].T
    torch.testing.assert_close(features_of(stack, each, pairs)[0], expected, **CLOSE)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (
            "dplm2_both",
            r"model\.modality=both reads structures, and probes read sequences; use model\.modality=sequence",
        ),
        ("esm3_structure", r"model\.modality=structure reads structures"),
        ("prot_t5", r"the decoder of prot_t5 reads what it has written .*; use model\.part=encoder"),
        ("ankh", r"the decoder of ankh reads what it has written"),
    ],
)
def test_a_model_that_reads_the_answer_or_not_the_protein_is_refused(family: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_reads_sequences(ALL[family])


READABLE = sorted(
    {"esm2", "progen2", "prot_bert", "prot_albert", "prot_xlnet", "prot_t5_encoder", "dplm", "esmc", "esm3"}
)


@pytest.mark.parametrize("family", READABLE)
def test_every_family_has_attention_to_read(family: str) -> None:
    check_reads_sequences(ALL[family])
    assert check_attention(stack_of(family), ALL[family], CPU) == 4


def test_a_model_without_attention_scores_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of("esm2")
    monkeypatch.setattr(type(stack), "apply_layer", lambda self, layer, state, call: state)
    with pytest.raises(InputError, match="model=esm2 has no self-attention scores to read contacts from: a layer ran"):
        check_attention(stack, ALL["esm2"], CPU)


def test_tokens_of_several_residues_are_refused() -> None:
    stack = stack_of("esm2")

    class Pieces(type(stack.spelling)):  # type: ignore[misc]
        unit = "token"

    pieces = Pieces(**vars(stack.spelling))
    with pytest.raises(InputError, match="esm2 spells several residues as one token"):
        check_attention(replace(stack, spelling=pieces), ALL["esm2"], CPU)
