"""Ablation against the model's own forward pass with its layers rearranged, identities and planted depth."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from plmdepth.controls.dead_layers import DeadLayers
from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack, NonFiniteStateError
from plmdepth.metrics import ablation
from plmdepth.metrics.ablation import BLOCKS, QUANTITIES, VARIANTS, Ablation
from plmdepth.metrics.logit_lens import QUANTITIES as LENS_QUANTITIES
from plmdepth.metrics.logit_lens import LogitLens
from plmdepth.objectives.objective import Example
from plmdepth.proteins.protein import Protein
from tests.calls import own_logits
from tests.recorder import hooks_of
from tests.stacks import EVERYWHERE, PROTEINS, example_for, stack_of

FAMILIES = sorted(EVERYWHERE)
N_LAYERS = 6
CLOSE = {"rtol": 1e-4, "atol": 1e-5, "equal_nan": True, "check_dtype": False}
KEYS = [(quantity.name, quantity.component) for quantity in QUANTITIES]


def orders(n_layers: int) -> dict[str, dict[int, list[int]]]:
    """Return, per variant and layer, the layers that run, in their order."""
    every = range(1, n_layers + 1)
    return {
        "drop": {s: [n for n in every if n != s] for s in every},
        "swap": {s: [*range(1, s), s + 1, s, *range(s + 2, n_layers + 1)] for s in every[:-1]},
        "repeat": {s: sorted([*every, s]) for s in every},
        "truncate": {n: list(range(1, n + 1)) for n in range(n_layers + 1)},
    }


@contextmanager
def arranged(stack: LayerStack, order: Sequence[int]) -> Iterator[None]:
    """Give the model itself another list of layers, as pruning would."""
    layers, config = stack.anatomy.layers, stack.module.config
    parent, name, original = next(
        (module, name, child)
        for module in stack.module.modules()
        for name, child in module.named_children()
        if isinstance(child, nn.ModuleList) and set(child) == set(layers)
    )
    sizes = {key: getattr(config, key) for key in ("num_hidden_layers", "num_hidden_groups") if hasattr(config, key)}
    setattr(parent, name, nn.ModuleList([layers[layer - 1] for layer in order]))
    if config.model_type == "albert":  # the others run what is in the list
        config.num_hidden_layers = config.num_hidden_groups = len(order)
    with lent_bias(layers) if config.model_type == "t5" else nullcontext():
        yield
    setattr(parent, name, original)
    config.update(sizes)


@contextmanager
def lent_bias(blocks: Sequence[Any]) -> Iterator[None]:
    """Lend T5's table of distances to every block: whichever runs first then makes the bias for the others."""
    owner, *others = (block.layer[0].SelfAttention for block in blocks)
    for attention in others:
        attention.relative_attention_bias, attention.has_relative_attention_bias = owner.relative_attention_bias, True
    yield
    for attention in others:
        attention.has_relative_attention_bias = False
        del attention.relative_attention_bias


def naive_scores(stack: LayerStack, example: Example, order: Sequence[int]) -> Tensor:
    """Return cross-entropy and accuracy of every sequence of a padded batch, ``[2, sequence]``."""
    choices = stack.spelling.amino_acids.tolist()
    with arranged(stack, order), torch.no_grad():
        logits = own_logits(stack, example.tokens)
    losses, accuracies = [], []
    for row in range(len(example.targets)):
        terms, right = [], []
        for position in example.scored[row].nonzero()[:, 0].tolist():
            values = logits[row, position, choices].double()
            truth = choices.index(int(example.labels[row, position]))
            terms.append(float(values.logsumexp(0) - values[truth]))
            right.append(int(values.argmax()) == truth)
        losses.append(sum(terms) / len(terms))
        accuracies.append(sum(right) / len(right))
    return torch.tensor([losses, accuracies], dtype=torch.float64)


def naive(stack: LayerStack, example: Example) -> dict[tuple[str, str], Tensor]:
    """One model for every arrangement of the layers; curves ``[sequence, layer]`` by (quantity, component)."""
    n, rows = stack.n_layers, len(example.targets)
    clean = naive_scores(stack, example, range(1, n + 1))
    curves = {key: torch.full((rows, n + 1), math.nan, dtype=torch.float64) for key in KEYS}
    for variant, by_layer in orders(n).items():
        for layer, order in by_layer.items():
            found = naive_scores(stack, example, order)
            curves["delta_cross_entropy", variant][:, layer] = found[0] - clean[0]
            curves["delta_accuracy", variant][:, layer] = found[1] - clean[1]
            curves["perplexity", variant][:, layer] = found[0].exp()
    return curves


def naive_blocks(stack: LayerStack, example: Example) -> Tensor:
    """One model for every block of layers that is missing, ``[sequence, matrix, layer, layer]``."""
    n = stack.n_layers
    clean = naive_scores(stack, example, range(1, n + 1))
    matrices = torch.full((len(example.targets), 2, n, n), math.nan, dtype=torch.float64)
    for first in range(1, n + 1):
        for length in range(1, n + 2 - first):
            order = [layer for layer in range(1, n + 1) if not first <= layer < first + length]
            matrices[:, :, first - 1, length - 1] = (naive_scores(stack, example, order) - clean).T
    return matrices


def measured(stack: LayerStack, example: Example | None = None, **options: Any) -> tuple[dict[Any, Tensor], Tensor]:
    """Return curves ``[sequence, layer]`` by (quantity, component), and matrices ``[sequence, 2, L, L]``."""
    curves, matrices = Ablation(**options).measure(stack, example or example_for(stack))
    return dict(zip(KEYS, curves.unbind(1), strict=True)), matrices


@pytest.mark.parametrize("family", [*FAMILIES, "prot_albert", "prot_xlnet"])
def test_every_variant_equals_a_model_whose_layers_are_rearranged(family: str) -> None:
    stack = stack_of(family)
    curves, _ = measured(stack, blocks=False)
    for key, expected in naive(stack, example_for(stack)).items():
        torch.testing.assert_close(curves[key], expected, **CLOSE, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("family", [*FAMILIES, "prot_albert", "prot_xlnet"])
def test_blocks_equal_a_model_without_them(family: str) -> None:
    stack = stack_of(family)
    _, matrices = measured(stack)
    torch.testing.assert_close(matrices, naive_blocks(stack, example_for(stack)), **CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_block_of_one_is_drop_and_a_block_to_the_end_is_truncate(family: str) -> None:
    curves, matrices = measured(stack_of(family))
    for index, name in enumerate(("delta_cross_entropy", "delta_accuracy")):
        assert torch.equal(matrices[:, index, :, 0], curves[name, "drop"][:, 1:])
        for first in range(1, N_LAYERS + 1):
            to_the_end = matrices[:, index, first - 1, N_LAYERS - first]
            torch.testing.assert_close(to_the_end, curves[name, "truncate"][:, first - 1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_truncate_is_the_logit_lens_and_nothing_at_the_last_layer(family: str) -> None:
    stack = stack_of(family)
    curves, _ = measured(stack, blocks=False)
    names = [quantity.name for quantity in LENS_QUANTITIES]
    lens = dict(zip(names, LogitLens().measure(stack, example_for(stack)).curves.unbind(1), strict=True))
    for name in ("cross_entropy", "accuracy"):
        delta = curves[f"delta_{name}", "truncate"]
        assert (delta[:, -1] == 0).all()
        torch.testing.assert_close(delta, lens[name] - lens[name][:, -1:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(curves["perplexity", "truncate"], lens["cross_entropy"].exp(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_dead_layers_can_be_dropped_repeated_and_moved_for_nothing(family: str) -> None:
    curves, matrices = measured(DeadLayers(layers=[3, 4]).stack(stack_of(family)))
    delta = {variant: curves["delta_cross_entropy", variant].abs() for variant in VARIANTS}
    assert max(delta[variant][:, 3:5].max() for variant in ("drop", "repeat")) < 1e-5
    assert delta["swap"][:, 2:5].max() < 1e-5
    assert (delta["truncate"][:, 2] - delta["truncate"][:, 4]).abs().max() < 1e-5
    assert matrices[:, :, 2, 1].abs().max() < 1e-5  # both at once
    for index in (0, 1):  # a block that begins or ends with dead layers is the block without them
        torch.testing.assert_close(matrices[:, index, 1, 0], matrices[:, index, 1, 2], rtol=0, atol=1e-5)
        torch.testing.assert_close(matrices[:, index, 2, 2], matrices[:, index, 4, 0], rtol=0, atol=1e-5)
    for layer in (1, 2, 5, 6):
        assert delta["drop"][:, layer].min() > 1e-4
        assert delta["repeat"][:, layer].min() > 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_two_layers_with_the_same_weights_can_be_exchanged(family: str) -> None:
    stack = stack_of(family)
    stack.anatomy.layers[5].load_state_dict(stack.anatomy.layers[4].state_dict())
    curves, _ = measured(stack, blocks=False)
    delta = {variant: curves["delta_cross_entropy", variant] for variant in VARIANTS}
    assert delta["swap"][:, 5].abs().max() < 1e-5
    assert delta["swap"][:, 1:5].abs().min() > 1e-4
    for variant in ("drop", "repeat"):  # which of two equal layers goes, or comes twice, does not matter
        torch.testing.assert_close(delta[variant][:, 5], delta[variant][:, 6], rtol=0, atol=1e-5)
        assert delta[variant][:, 5].abs().min() > 1e-4


def test_a_layer_that_destroys_what_the_head_needs_is_better_dropped() -> None:
    stack = stack_of("progen2")
    direction = torch.nn.functional.normalize(torch.arange(32.0) - 15.5, dim=0)
    with torch.no_grad():  # alanine always, unless the stream points along the direction as it does after layer 6
        stack.anatomy.head.weight.zero_()
        stack.anatomy.head.weight[stack.spelling.letters["W"]] = 3.0 * direction
        stack.anatomy.head.bias.zero_()
        stack.anatomy.head.bias[stack.spelling.letters["A"]] = 10.0
        stack.anatomy.mlp_outputs[5].bias.add_(100.0 * direction)
    example = example_for(stack, (Protein("alanines", "A" * 20),))
    curves, _ = measured(stack, example)
    assert curves["delta_cross_entropy", "drop"][0, 6] < -1
    assert curves["delta_accuracy", "drop"][0, 6] == 1
    assert curves["perplexity", "drop"][0, 6] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("max_rows", [1, 2, 100])
def test_the_size_of_the_chunks_changes_nothing(max_rows: int) -> None:
    stack = stack_of("esm2")
    few, usual = (Ablation(max_rows=rows).measure(stack, example_for(stack)) for rows in (max_rows, 8))
    for mine, theirs in zip(few, usual, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize(("max_block", "longest"), [(1, 1), (2, 2), (6, 6), (60, 6)])
def test_longer_blocks_than_the_longest_have_no_value(max_block: int, longest: int) -> None:
    stack = stack_of("progen2")
    _, every = measured(stack)
    _, some = measured(stack, max_block=max_block)
    torch.testing.assert_close(some[..., :longest], every[..., :longest], rtol=0, atol=0, equal_nan=True)
    assert some[..., longest:].isnan().all()


def test_only_blocks_within_the_stack_have_a_value() -> None:
    _, matrices = measured(stack_of("esm2"))
    for first in range(1, N_LAYERS + 1):
        for length in range(1, N_LAYERS + 1):
            undefined = matrices[:, :, first - 1, length - 1].isnan()
            assert undefined.all() if first + length - 1 > N_LAYERS else not undefined.any()


def test_without_blocks_there_are_no_matrices_and_the_same_curves() -> None:
    stack, metric = stack_of("esm2"), Ablation(blocks=False)
    values = metric.measure(stack, example_for(stack))
    assert values.matrices is None
    assert metric.matrices == ()
    assert Ablation().matrices == BLOCKS
    torch.testing.assert_close(
        values.curves, Ablation().measure(stack, example_for(stack)).curves, rtol=0, atol=0, equal_nan=True
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_curve_begins_at_its_first_layer_and_ends_where_it_can(family: str) -> None:
    curves, _ = measured(stack_of(family), blocks=False)
    for quantity in QUANTITIES:
        defined = (~curves[quantity.name, quantity.component].isnan()).all(0).nonzero()[:, 0].tolist()
        last = N_LAYERS - 1 if quantity.component == "swap" else N_LAYERS
        assert defined == list(range(quantity.first_layer, last + 1))
    assert {quantity.first_layer for quantity in QUANTITIES if quantity.component == "truncate"} == {0}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sequence_without_targets_has_no_value(family: str) -> None:
    stack = stack_of(family)
    proteins = (*PROTEINS, Protein("unknown", "XXXX"))
    curves, matrices = Ablation().measure(stack, example_for(stack, proteins))
    assert curves[-1].isnan().all()
    assert matrices is not None
    assert matrices[-1].isnan().all()
    alone = Ablation().measure(stack, example_for(stack)).curves
    torch.testing.assert_close(curves[:-1], alone, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_a_stack_of_one_layer_can_be_measured() -> None:
    curves, matrices = measured(stack_of("esm2", n_layers=1))
    assert curves["delta_cross_entropy", "swap"].isnan().all()
    torch.testing.assert_close(
        curves["delta_cross_entropy", "drop"][:, 1], curves["delta_cross_entropy", "truncate"][:, 0]
    )
    assert matrices.shape == (len(PROTEINS), 2, 1, 1)


def test_branches_resume_where_they_left_the_clean_run(monkeypatch: pytest.MonkeyPatch) -> None:
    stack, rows = stack_of("esm2"), 0
    original = LayerStack.apply_layer

    def counting(self: LayerStack, layer: int, state: Tensor, call: Any) -> Tensor:
        nonlocal rows
        rows += len(state)
        return original(self, layer, state, call)

    monkeypatch.setattr(LayerStack, "apply_layer", counting)
    Ablation().measure(stack, example_for(stack).sequence(0))
    size = N_LAYERS
    clean, blocks, repeats = size, (size - 1) * size * (size + 1) // 6, size + size * (size - 1) // 2
    swaps = 2 * (size - 1) + (size - 1) * (size - 2) // 2
    assert rows == clean + blocks + repeats + swaps


@pytest.mark.parametrize(("option", "value"), [("max_block", 0), ("max_block", -3), ("max_rows", 0)])
def test_a_count_below_one_is_refused(option: str, value: int) -> None:
    with pytest.raises(InputError, match=f"^metric.{option}={value}: [^\n]*$"):
        Ablation(**{option: value})


@pytest.mark.parametrize(
    ("function", "change"), [("without_blocks", "drop"), ("with_swaps", "swap"), ("with_repeats", "repeat")]
)
def test_a_branch_that_is_not_finite_stops_the_run_and_names_the_layer(
    function: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(ablation, function)

    def poisoned(*args: Any) -> Tensor:
        states = original(*args).clone()
        states[1] = torch.inf
        return states

    monkeypatch.setattr(ablation, function, poisoned)
    with pytest.raises(NonFiniteStateError, match=f"after {change} at layer 2 holds NaN or infinity"):
        measured(stack_of("esm2"), max_block=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_measurement_leaves_no_trace_even_after_an_error(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of(family)
    before = {name: value.clone() for name, value in stack.module.state_dict().items()}
    measured(stack)
    calls = {"left": 40}
    original = LayerStack.apply_layer

    def failing(*args: Any) -> Tensor:
        calls["left"] -= 1
        if calls["left"] == 0:
            raise RuntimeError("in the middle")
        return original(*args)

    monkeypatch.setattr(LayerStack, "apply_layer", failing)
    with pytest.raises(RuntimeError, match="in the middle"):
        measured(stack)
    assert hooks_of(stack) == 0
    assert all(torch.equal(before[name], value) for name, value in stack.module.state_dict().items())
