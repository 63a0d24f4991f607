"""Direct effect against one full run for every pair of layers, identities and planted depth."""

import itertools
import math
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from plmdepth.controls.dead_layers import DeadLayers
from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.direct_effect import DirectEffect
from plmdepth.metrics.intervention_masks import COMPONENTS
from plmdepth.metrics.layer_skip import LayerSkip
from plmdepth.objectives.objective import Example
from tests.calls import hooked_call, hooked_state
from tests.metrics.test_layer_skip import full_run, masked_tokens
from tests.recorder import hooks_of
from tests.stacks import EVERYWHERE, PROTEINS, example_for, stack_of

FAMILIES = sorted(EVERYWHERE)
N_LAYERS = 6
CLOSE = {"rtol": 1e-4, "atol": 1e-5, "equal_nan": True, "check_dtype": False}


def clean_contributions(stack: LayerStack, example: Example) -> dict[str, list[Tensor]]:
    """Return what every layer, attention and MLP added in the model's own forward pass, each ``[token, feature]``."""
    given: dict[str, list[Tensor]] = {"attention": [], "second": [], "mlp": []}
    anatomy = stack.anatomy
    parts = {
        "attention": anatomy.attention_outputs,
        "second": anatomy.second_attention_outputs,
        "mlp": anatomy.mlp_outputs,
    }
    handles = [
        part.register_forward_hook(lambda _m, _i, output, name=name: given[name].append(output[0]))
        for name, modules in parts.items()
        for part in dict.fromkeys(modules)
    ]
    states, _ = full_run(stack, example)
    for handle in handles:
        handle.remove()
    attention = [sum(both) for both in itertools.zip_longest(given["attention"], given["second"], fillvalue=0.0)]
    added = {"attention": attention, "mlp": given["mlp"]}
    return {
        **{name: [each / published_scale(stack) for each in values] for name, values in added.items()},
        "layer": [after - before for before, after in itertools.pairwise(states)],
    }


def published_scale(stack: LayerStack) -> float:
    """Return what ESM-C and ESM3 divide by before they add: the square root of L over 36."""
    return math.sqrt(stack.n_layers / 36) if stack.module.config.model_type in ("esmc", "plmdepth_esm3") else 1.0


def run_without(stack: LayerStack, example: Example, layer: int, removed: Tensor) -> Tensor:
    """Return the contribution of a layer, in a full run of the model in which its input alone lacks something."""
    seen: dict[str, Tensor] = {}

    def subtract(_module: nn.Module, args: Any) -> Any:
        seen["entering"] = args[0] - removed
        return (seen["entering"], *args[1:])

    def record(_module: nn.Module, _inputs: Any, output: Any) -> None:
        seen["leaving"] = output[0] if isinstance(output, tuple) else output

    layers = stack.anatomy.layers
    with hooked_call(layers, layer, subtract, before=True), hooked_call(layers, layer, record):
        full_run(stack, example)
    return (seen["leaving"] - seen["entering"])[0]


def naive(stack: LayerStack, example: Example, scope: str, reduction: str, cuts: Any) -> dict[str, Tensor]:
    """One full run for every component, pair of layers and cut."""
    reduce = max if reduction == "max" else (lambda values: sum(values) / len(values))
    states, logits = full_run(stack, example)
    added, n = clean_contributions(stack, example), stack.n_layers
    result = {}
    for component in COMPONENTS:
        outputs, effects = torch.zeros(n).double(), torch.full((n, n), math.nan).double()
        for s in range(1, n + 1):
            output_values, effect_values = [], {layer: [] for layer in range(s + 1, n + 1)}
            for changed, measured in masked_tokens(scope, example, cuts):
                removed = torch.where(changed[:, None], added[component][s - 1], 0.0)
                for layer, found in effect_values.items():
                    clean = states[layer] - states[layer - 1]
                    other = run_without(stack, example, layer, removed)
                    found.append(reduce(((clean - other).norm(dim=-1) / clean.norm(dim=-1))[measured].tolist()))
                with hooked_state(stack, n, lambda _m, args, c=removed: (args[0] - c, *args[1:])):
                    _, others = full_run(stack, example)
                moved = (others.softmax(-1) - logits.softmax(-1)).norm(dim=-1)[measured]
                output_values.append(reduce(moved.tolist()))
            outputs[s - 1] = reduce(output_values)
            for layer, values in effect_values.items():
                effects[s - 1, layer - 1] = reduce(values)
        result[f"output/{component}"], result[f"effect/{component}"] = outputs, effects
    return result


CASES = [("esm2", "all"), ("esm2", "targets"), ("progen2", "all"), ("progen2", "future")]
POST_NORM = [("prot_albert", "all"), ("prot_xlnet", "targets")]


@pytest.mark.parametrize(("family", "scope"), [*CASES, *POST_NORM])
@pytest.mark.parametrize("reduction", ["max", "mean"])
def test_it_equals_one_full_run_for_every_pair_of_layers(family: str, scope: str, reduction: str) -> None:
    stack, cuts = stack_of(family), (0.3, 0.7)
    curves, matrices = DirectEffect(scope=scope, reduction=reduction, cuts=cuts).measure(stack, example_for(stack))
    assert matrices is not None
    for row in range(len(PROTEINS)):
        expected = naive(stack, example_for(stack).sequence(row), scope, reduction, cuts)
        for index, component in enumerate(COMPONENTS):
            torch.testing.assert_close(curves[row, index, 1:], expected[f"output/{component}"], **CLOSE)
            torch.testing.assert_close(matrices[row, index], expected[f"effect/{component}"], **CLOSE)


@pytest.mark.parametrize(("family", "scope"), CASES)
def test_between_neighbours_it_is_layer_skip(family: str, scope: str) -> None:
    stack = stack_of(family)
    direct, skip = (metric(scope=scope).measure(stack, example_for(stack)) for metric in (DirectEffect, LayerSkip))
    # What the MLP adds depends on attention if it reads it: then skipping attention is more than taking out a_s.
    alike = [0, 2] if stack.anatomy.wiring == "sequential" else [0, 1, 2]
    next_one, two_on = (
        [matrices[:, alike].diagonal(offset, -2, -1) for matrices in (direct.matrices, skip.matrices)]
        for offset in (1, 2)
    )
    torch.testing.assert_close(*next_one, rtol=1e-4, atol=1e-5)
    assert (two_on[0] - two_on[1]).abs().min() > 1e-5
    outputs = [values.curves[:, alike, -1] for values in (direct, skip)]
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)


def test_attention_that_the_mlp_reads_differs_from_layer_skip() -> None:
    stack = stack_of("esm2")
    direct, skip = (metric().measure(stack, example_for(stack)).matrices for metric in (DirectEffect, LayerSkip))
    assert (direct - skip)[:, 1].diagonal(1, -2, -1).abs().min() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_a_dead_layer_is_read_by_none_and_reads_none(family: str) -> None:
    stack = DeadLayers(layers=[3, 5]).stack(stack_of(family))
    curves, matrices = DirectEffect().measure(stack, example_for(stack))
    for dead in (3, 5):
        assert curves[:, :, dead].max() < 1e-5
        assert matrices[:, :, dead - 1, dead:].max() < 1e-5
        assert (matrices[:, :, : dead - 1, dead - 1] == 0)[~matrices[:, :, : dead - 1, dead - 1].isnan()].all()
    assert (matrices[:, :, 0, 2] == 0).all()
    assert matrices[:, :, 0, [1, 3, 5]].min() > 1e-3
    assert curves[:, :, 1].min() > 1e-4


WRITER, READER, CHANNEL = 2, 5, [30, 31]


def parts_of(stack: LayerStack, layers: Iterable[int], kind: type) -> list[Any]:
    return [part for layer in layers for part in stack.anatomy.layers[layer - 1].modules() if isinstance(part, kind)]


@torch.no_grad()
def let_write(part: nn.Linear) -> None:
    """Let an out-projection write a little of its first feature to the channel, and nothing else."""
    for parameter in part.parameters():
        written = 0.0025 * parameter[0]
        parameter.zero_()
        parameter[CHANNEL] = torch.stack([written, -written])


@torch.no_grad()
def stack_with_a_channel(family: str) -> LayerStack:
    """Return a model in which layer 2 writes to one feature, and layer 5 alone reads it.

    A second feature takes the opposite of what is written, so that the mean within a norm stays as it is. Its
    variance changes with the square of the amounts, so these are small. Layer 5 magnifies the two, and reads their
    difference.
    """
    stack = stack_of(family)
    stack.module.get_input_embeddings().weight[:, CHANNEL] = 0.0
    for norm in (stack.anatomy.norm, *parts_of(stack, range(1, N_LAYERS + 1), nn.LayerNorm)):
        norm.weight[CHANNEL] = norm.bias[CHANNEL] = 0.0
    outputs = [(stack.anatomy.attention_outputs[n], stack.anatomy.mlp_outputs[n]) for n in range(N_LAYERS)]
    for parameter in (each for parts in outputs for part in parts for each in part.parameters()):
        parameter[CHANNEL] = 0.0
    for part in outputs[WRITER - 1]:
        let_write(part)
    for norm in parts_of(stack, [READER], nn.LayerNorm):
        norm.weight[CHANNEL] = 1200.0
    for projection in parts_of(stack, [READER], nn.Linear):
        if projection not in outputs[READER - 1]:
            projection.weight[:, CHANNEL[0]] = -projection.weight[:, CHANNEL[1]]
    return stack


@pytest.mark.parametrize(("family", "scope"), CASES)
def test_what_one_layer_alone_reads_shows_in_exactly_that_entry(family: str, scope: str) -> None:
    stack = stack_with_a_channel(family)
    curves, matrices = DirectEffect(scope=scope).measure(stack, example_for(stack))
    assert matrices is not None
    row = matrices[:, :, WRITER - 1]
    others = [layer - 1 for layer in range(WRITER + 1, N_LAYERS + 1) if layer != READER]
    assert row[..., READER - 1].min() > 1e-2
    assert row[..., others].max() < 1e-5
    assert curves[:, :, WRITER].max() < 1e-5
    assert matrices[:, :, 0, 2:].min() > 1e-2  # all other layers are read as usual
    skipped = LayerSkip(scope=scope).measure(stack, example_for(stack)).matrices
    assert skipped is not None
    assert skipped[:, 0, WRITER - 1, -1].min() > 1e-2  # layer 6 notices, by way of layer 5


@pytest.mark.parametrize(("family", "scope"), [("esm2", "targets"), ("progen2", "future")])
def test_the_head_reads_nothing_of_other_residues(family: str, scope: str) -> None:
    stack = stack_of(family)
    curves, _ = DirectEffect(scope=scope).measure(stack, example_for(stack))
    assert curves[..., 1:].max() < 1e-6
    curves, _ = DirectEffect(scope="all").measure(stack, example_for(stack))
    assert curves[..., 1:].min() > 1e-4


def test_only_later_layers_have_a_value() -> None:
    stack = stack_of("esm2")
    curves, matrices = DirectEffect().measure(stack, example_for(stack))
    assert matrices is not None
    lower = torch.ones(N_LAYERS, N_LAYERS, dtype=torch.bool).tril()
    assert matrices[..., lower].isnan().all()
    assert not matrices[..., ~lower].isnan().any()
    assert curves[..., 0].isnan().all()
    assert not curves[..., 1:].isnan().any()


@pytest.mark.parametrize("max_rows", [1, 2, 100])
def test_the_size_of_the_chunks_changes_nothing(max_rows: int) -> None:
    stack = stack_of("esm2")
    few, usual = (DirectEffect(max_rows=rows).measure(stack, example_for(stack)) for rows in (max_rows, 8))
    for mine, theirs in zip(few, usual, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("components", [["layer"], ["mlp"], ["attention", "layer"]])
def test_components_can_be_chosen(components: list[Any]) -> None:
    stack = stack_of("progen2")
    metric = DirectEffect(components=components)
    assert [quantity.component for quantity in (*metric.quantities, *metric.matrices)] == components * 2
    chosen, every = metric.measure(stack, example_for(stack)), DirectEffect().measure(stack, example_for(stack))
    index = [COMPONENTS.index(component) for component in components]
    for mine, theirs in zip(chosen, every, strict=True):
        torch.testing.assert_close(mine, theirs[:, index], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(("components", "runs"), [(["layer"], 1), (["mlp"], 2)])
def test_every_pair_of_layers_costs_one_layer_evaluation(
    components: list[Any], runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, rows = stack_of("esm2"), 0
    original = LayerStack.apply_layer

    def counting(self: LayerStack, layer: int, state: Tensor, call: Any) -> Tensor:
        nonlocal rows
        rows += len(state)
        return original(self, layer, state, call)

    monkeypatch.setattr(LayerStack, "apply_layer", counting)
    DirectEffect(components=components).measure(stack, example_for(stack).sequence(0))
    assert rows == runs * N_LAYERS + N_LAYERS * (N_LAYERS - 1) // 2


@pytest.mark.parametrize(("family", "scope"), [("esm2", "future"), ("progen2", "targets")])
def test_a_scope_that_the_model_cannot_have_is_refused_with_one_that_it_can(family: str, scope: str) -> None:
    stack = stack_of(family)
    with pytest.raises(InputError, match=r"use metric\.scope="):
        DirectEffect(scope=scope).measure(stack, example_for(stack))


@pytest.mark.parametrize(
    ("option", "value"), [("components", []), ("cuts", []), ("cuts", [0.5, 1.0]), ("cuts", [0.0]), ("max_rows", 0)]
)
def test_an_option_that_leaves_nothing_to_measure_is_refused(option: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"^metric.{option}[^\n]*$"):
        DirectEffect(**{option: value})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_measurement_leaves_no_trace_even_after_an_error(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of(family)
    before = {name: value.clone() for name, value in stack.module.state_dict().items()}
    DirectEffect().measure(stack, example_for(stack))
    original = LayerStack.apply_layer
    for stop in (3, 9, 20):  # in the clean run, while contributions are recorded, among the branches
        calls = {"left": stop}

        def failing(*args: Any, calls: dict[str, int] = calls) -> Tensor:
            calls["left"] -= 1
            if calls["left"] == 0:
                raise RuntimeError("in the middle")
            return original(*args)

        monkeypatch.setattr(LayerStack, "apply_layer", failing)
        with pytest.raises(RuntimeError, match="in the middle"):
            DirectEffect().measure(stack, example_for(stack))
        assert hooks_of(stack) == 0
    assert all(torch.equal(before[name], value) for name, value in stack.module.state_dict().items())
