from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plmdepth.controls.control import Control
from plmdepth.controls.dead_layers import DeadLayers
from plmdepth.controls.random_weights import RandomWeights
from plmdepth.controls.shuffled_residues import ShuffledResidues
from plmdepth.errors import InputError
from plmdepth.language_models.families.esm2 import ESM2
from plmdepth.language_models.families.progen2 import ProGen2
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack, LayerView, Need
from plmdepth.language_models.weights import load_stack
from plmdepth.proteins.protein import CANONICAL, Protein

SIZE: dict[str, Any] = {
    "n_layers": 12,
    "width": 64,
    "n_heads": 4,
    "max_length": 126,
    "weights": "hub",
    "attention": "eager",
}
MODELS: list[LanguageModel] = [
    ESM2(name="esm2", family="esm2", objective="masked", miniature=True, **SIZE),
    ProGen2(name="progen2", family="progen2", objective="autoregressive", miniature=True, **SIZE),
]
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
PROTEINS = (Protein("a", "MKTVACDEFGHIKLMNPQRS"), Protein("b", "ACXDEWWYYV"))


class Watch:
    """Keeps what every layer added."""

    needs: frozenset[Need] = frozenset({"states", "contributions"})

    def __init__(self) -> None:
        self.attention: list[Tensor] = []
        self.mlp: list[Tensor] = []
        self.change: list[Tensor] = []

    def embedded(self, state: Tensor) -> None: ...

    def observe(self, view: LayerView) -> None:
        assert view.attention is not None
        assert view.mlp is not None
        self.attention.append(view.attention)
        self.mlp.append(view.mlp)
        self.change.append(view.state - view.entering)


def lively(model: LanguageModel) -> LayerStack:
    """Return a stack in which every parameter, every bias too, is something other than zero."""
    stack = load_stack(model, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in stack.module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return stack


def watched(stack: LayerStack) -> Watch:
    watch = Watch()
    with torch.no_grad():
        stack.run(stack.spelling.encode([protein.sequence for protein in PROTEINS]), [watch])
    return watch


def dead(stack: LayerStack) -> list[int]:
    """Return the layers whose out-projections hold nothing but zeros."""
    outputs = zip(stack.anatomy.attention_outputs, stack.anatomy.mlp_outputs, strict=True)
    return [
        layer
        for layer, pair in enumerate(outputs, start=1)
        if all(not parameter.any() for part in pair for parameter in part.parameters())
    ]


@each_model
def test_no_control_changes_nothing(model: LanguageModel) -> None:
    stack = lively(model)
    before = [parameter.clone() for parameter in stack.module.parameters()]
    assert Control().model(model) is model
    assert Control().stack(stack) is stack
    assert all(torch.equal(one, two) for one, two in zip(before, stack.module.parameters(), strict=True))
    assert Control().proteins(PROTEINS, seed=0) == PROTEINS


@each_model
def test_no_layer_is_dead_without_the_control(model: LanguageModel) -> None:
    stack = lively(model)
    assert dead(stack) == []
    assert all(change.any() for change in watched(stack).change)


@each_model
def test_by_default_the_upper_half_is_dead(model: LanguageModel) -> None:
    assert dead(DeadLayers().stack(lively(model))) == [3, 4]


@pytest.mark.parametrize(("n_layers", "expected"), [(1, [1]), (3, [2, 3]), (5, [3, 4, 5]), (6, [4, 5, 6])])
def test_of_an_odd_number_of_layers_the_middle_one_is_dead_too(n_layers: int, expected: list[int]) -> None:
    model = replace(MODELS[0], miniature=False, weights="random", n_layers=n_layers, width=16, n_heads=2)
    assert dead(DeadLayers().stack(lively(model))) == expected


@each_model
@pytest.mark.parametrize("layers", [[1], [4], [2, 3], [1, 2, 3, 4]])
def test_the_named_layers_are_dead_and_no_others(model: LanguageModel, layers: Sequence[int]) -> None:
    assert dead(DeadLayers(layers).stack(lively(model))) == list(layers)


@each_model
def test_only_out_projections_are_zeroed(model: LanguageModel) -> None:
    stack = lively(model)
    before = {name: parameter.clone() for name, parameter in stack.module.named_parameters()}
    DeadLayers([2]).stack(stack)
    changed = {name for name, parameter in stack.module.named_parameters() if not torch.equal(parameter, before[name])}
    projections = (stack.anatomy.attention_outputs[1], stack.anatomy.mlp_outputs[1])
    allowed = {id(parameter) for projection in projections for parameter in projection.parameters()}
    assert changed == {name for name, parameter in stack.module.named_parameters() if id(parameter) in allowed}


@each_model
def test_a_dead_layer_adds_exactly_nothing(model: LanguageModel) -> None:
    watch = watched(DeadLayers([2, 4]).stack(lively(model)))
    for parts in (watch.attention, watch.mlp, watch.change):
        assert [bool(part.any()) for part in parts] == [True, False, True, False]


@each_model
@pytest.mark.parametrize("layers", [[0], [5], [-1], [2, 7]])
def test_a_layer_that_the_model_lacks_is_refused(model: LanguageModel, layers: Sequence[int]) -> None:
    stack = lively(model)
    with pytest.raises(InputError, match=r"control\.layers=.*the model has layers 1 to 4"):
        DeadLayers(layers).stack(stack)
    assert dead(stack) == []


@each_model
def test_random_weights_need_no_checkpoint(model: LanguageModel) -> None:
    trained = replace(model, miniature=False, n_layers=2, weights="no/such/folder")
    with pytest.raises(InputError, match="no such folder"):
        load_stack(trained, seed=0)
    stack = load_stack(RandomWeights().model(trained), seed=0)
    assert stack.n_layers == 2


@each_model
def test_random_weights_change_nothing_but_the_weights(model: LanguageModel) -> None:
    control = RandomWeights().model(model)
    assert control.weights == "random"
    assert replace(control, weights=model.weights) == model


@each_model
def test_random_weights_depend_on_the_seed_alone(model: LanguageModel) -> None:
    control = replace(RandomWeights().model(model), miniature=False, n_layers=2)
    drawn = []
    for seed in (0, 0, 1):
        torch.rand(3)  # what was drawn before must not matter
        drawn.append(load_stack(control, seed).anatomy.mlp_outputs[0].weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@given(st.lists(st.text(alphabet=CANONICAL + "X", min_size=1, max_size=40), min_size=1, max_size=4))
@settings(deadline=None)
def test_shuffled_proteins_keep_ids_and_composition(sequences: list[str]) -> None:
    proteins = [Protein(f"p{number}", sequence) for number, sequence in enumerate(sequences)]
    shuffled = ShuffledResidues().proteins(proteins, seed=0)
    assert [protein.id for protein in shuffled] == [protein.id for protein in proteins]
    assert [Counter(protein.sequence) for protein in shuffled] == [Counter(sequence) for sequence in sequences]


def test_shuffling_moves_residues_to_every_place_alike() -> None:
    first = Counter(ShuffledResidues().proteins([Protein("a", "ACDEF")], seed)[0].sequence[0] for seed in range(1000))
    assert max(abs(first[letter] - 200) for letter in "ACDEF") < 5 * (1000 * 0.2 * 0.8) ** 0.5


def test_sequences_of_one_length_are_shuffled_in_different_ways() -> None:
    letters, others = "ACDEFGHIKL", "MNPQRSTVWY"
    one, two = ShuffledResidues().proteins([Protein("a", letters), Protein("b", others)], seed=0)
    assert [letters.index(letter) for letter in one.sequence] != [others.index(letter) for letter in two.sequence]


def test_a_shuffle_depends_on_seed_and_sequence_alone() -> None:
    together = ShuffledResidues().proteins(PROTEINS, seed=1)
    alone = ShuffledResidues().proteins([Protein("renamed", PROTEINS[1].sequence)], seed=1)
    assert together[1].sequence == alone[0].sequence
    assert together == ShuffledResidues().proteins(PROTEINS[::-1], seed=1)[::-1]
    assert together[0].sequence != ShuffledResidues().proteins(PROTEINS, seed=2)[0].sequence
    assert together[0].sequence != PROTEINS[0].sequence


@each_model
def test_shuffling_leaves_model_and_stack_alone(model: LanguageModel) -> None:
    stack = load_stack(model, seed=0)
    assert ShuffledResidues().model(model) is model
    assert ShuffledResidues().stack(stack) is stack
    assert dead(stack) == []
