"""Layer skip against one full run for every layer, identities and planted depth."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from plmdepth.controls.dead_layers import DeadLayers
from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.intervention_masks import COMPONENTS
from plmdepth.metrics.layer_skip import LayerSkip
from plmdepth.objectives.objective import Example
from tests.calls import hooked_call, own_logits, readers
from tests.recorder import hooks_of
from tests.stacks import EVERYWHERE, PROTEINS, example_for, stack_of

FAMILIES = sorted(EVERYWHERE)


@contextmanager
def changed_layer(stack: LayerStack, layer: int, component: str, tokens: Tensor) -> Iterator[None]:
    """Change the model itself, in place, for whole forward passes."""

    def keep_entering(_m: Any, inputs: Any, output: Any) -> Any:
        state = output[0] if isinstance(output, tuple) else output
        state = torch.where(tokens[:, None], inputs[0], state)
        return (state, *output[1:]) if isinstance(output, tuple) else state

    def silence(_m: Any, _i: Any, output: Tensor) -> Tensor:
        return torch.where(tokens[:, None], 0.0, output)

    anatomy = stack.anatomy
    kinds, hook = {
        "layer": ([anatomy.layers], keep_entering),
        "attention": ([anatomy.attention_outputs, anatomy.second_attention_outputs], silence),
        "mlp": ([anatomy.mlp_outputs], silence),
    }[component]
    with ExitStack() as hooks:
        for parts in kinds:
            if layer <= len(parts):  # not every layer has a second attention
                hooks.enter_context(hooked_call(parts, layer, hook))
        yield


def full_run(stack: LayerStack, example: Example) -> tuple[list[Tensor], Tensor]:
    """Return all states and the logits of the model's own forward pass."""
    states: list[Tensor] = []
    hooks = [m.register_forward_pre_hook(lambda _, args: states.append(args[0][0])) for m in readers(stack)]
    with torch.no_grad():
        logits = own_logits(stack, example.tokens)[0]
    for handle in hooks:
        handle.remove()
    return states, logits


def masked_tokens(scope: str, example: Example, cuts: tuple[float, ...]) -> list[tuple[Tensor, Tensor]]:
    residues = example.tokens.residues[0]
    if scope == "all":
        return [(residues, residues)]
    if scope == "targets":
        return [(example.context[0], example.scored[0])]
    found = []
    for share in cuts:
        cut = max(2, round(share * len(residues)))
        before = torch.tensor([0 < p < cut for p in range(len(residues))])
        found.append((residues & before, residues & ~before & (torch.arange(len(residues)) >= cut)))
    return found


def naive(
    stack: LayerStack, example: Example, scope: str, reduction: str, cuts: tuple[float, ...]
) -> dict[str, Tensor]:
    """One full run for every layer, component and cut."""
    reduce = max if reduction == "max" else (lambda values: sum(values) / len(values))
    n = stack.n_layers
    clean_states, clean_logits = full_run(stack, example)
    result = {}
    for component in COMPONENTS:
        outputs, effects = torch.zeros(n).double(), torch.full((n, n), math.nan).double()
        for s in range(1, n + 1):
            output_values, effect_values = [], {m: [] for m in range(s + 1, n + 1)}
            for changed, measured in masked_tokens(scope, example, cuts):
                with changed_layer(stack, s, component, changed):
                    states, logits = full_run(stack, example)
                moved = (logits.softmax(-1) - clean_logits.softmax(-1)).norm(dim=-1)[measured]
                output_values.append(reduce(moved.tolist()))
                for m, found in effect_values.items():
                    c, other = clean_states[m] - clean_states[m - 1], states[m] - states[m - 1]
                    found.append(reduce(((c - other).norm(dim=-1) / c.norm(dim=-1))[measured].tolist()))
            outputs[s - 1] = reduce(output_values)
            for m, values in effect_values.items():
                effects[s - 1, m - 1] = reduce(values)
        result[f"output/{component}"], result[f"effect/{component}"] = outputs, effects
    return result


CASES = [
    *(("esm2", "all"), ("esm2", "targets"), ("progen2", "all"), ("progen2", "future")),
    *(("prot_albert", "all"), ("prot_bert", "targets"), ("prot_xlnet", "targets")),
]


@pytest.mark.parametrize(("family", "scope"), CASES)
@pytest.mark.parametrize("reduction", ["max", "mean"])
def test_the_wavefront_equals_one_full_run_for_every_layer(family: str, scope: str, reduction: str) -> None:
    stack, cuts = stack_of(family), (0.3, 0.7)
    metric = LayerSkip(scope=scope, reduction=reduction, cuts=cuts)
    curves, matrices = metric.measure(stack, example_for(stack))
    for row in range(len(PROTEINS)):
        expected = naive(stack, example_for(stack).sequence(row), scope, reduction, cuts)
        for index, component in enumerate(COMPONENTS):
            close = {"rtol": 1e-4, "atol": 1e-5, "equal_nan": True, "check_dtype": False}
            torch.testing.assert_close(curves[row, index, 1:], expected[f"output/{component}"], **close)
            torch.testing.assert_close(matrices[row, index], expected[f"effect/{component}"], **close)


@pytest.mark.parametrize("max_rows", [1, 2, 100])
def test_the_size_of_the_chunks_changes_nothing(max_rows: int) -> None:
    stack = stack_of("esm2")
    few, usual = LayerSkip(max_rows=max_rows), LayerSkip()
    for mine, theirs in zip(
        few.measure(stack, example_for(stack)), usual.measure(stack, example_for(stack)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_skipping_a_dead_layer_has_no_effect(family: str) -> None:
    stack = DeadLayers(layers=[3, 5]).stack(stack_of(family))
    curves, matrices = LayerSkip().measure(stack, example_for(stack))
    for dead in (3, 5):
        assert curves[:, :, dead].max() < 1e-5
        assert matrices[:, :, dead - 1, dead:].nan_to_num().max() < 1e-4
    assert curves[:, 0, 2].min() > 1e-3
    assert (matrices[:, :, 0, 2] == 0).all()  # a dead layer's own contribution does not change either


def test_only_later_layers_have_a_value() -> None:
    stack = stack_of("esm2")
    _, matrices = LayerSkip().measure(stack, example_for(stack))
    assert matrices is not None
    lower = torch.ones(6, 6, dtype=torch.bool).tril()
    assert matrices[..., lower].isnan().all()
    assert not matrices[..., ~lower].isnan().any()


def test_in_a_causal_model_nothing_before_the_cut_changes() -> None:
    stack = stack_of("progen2")
    example = example_for(stack).sequence(0)
    late = torch.arange(example.tokens.ids.shape[1]) >= 20
    clean, _ = full_run(stack, example)
    with changed_layer(stack, 2, "layer", late):
        states, _ = full_run(stack, example)
    for before, after in zip(clean, states, strict=True):
        assert torch.equal(before[:20], after[:20])
    assert not torch.equal(clean[-1][20:], states[-1][20:])


@pytest.mark.parametrize(("family", "scope"), [("esm2", "future"), ("progen2", "targets")])
def test_a_scope_that_the_model_cannot_have_is_refused_with_one_that_it_can(family: str, scope: str) -> None:
    stack = stack_of(family)
    with pytest.raises(InputError, match=r"use metric\.scope="):
        LayerSkip(scope=scope).measure(stack, example_for(stack))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_measurement_leaves_no_trace_even_after_an_error(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of(family)
    before = {name: value.clone() for name, value in stack.module.state_dict().items()}
    LayerSkip().measure(stack, example_for(stack))
    calls = {"left": 40}
    original = LayerStack.apply_layer

    def failing(*args: Any) -> Tensor:
        calls["left"] -= 1
        if calls["left"] == 0:
            raise RuntimeError("in the middle")
        return original(*args)

    monkeypatch.setattr(LayerStack, "apply_layer", failing)
    with pytest.raises(RuntimeError, match="in the middle"):
        LayerSkip().measure(stack, example_for(stack))
    assert hooks_of(stack) == 0
    assert all(torch.equal(before[name], value) for name, value in stack.module.state_dict().items())


def test_effective_depth_is_the_centre_of_mass_of_the_row_means() -> None:
    effect = torch.full((3, 3), math.nan)
    effect[0, 1:] = torch.tensor([1.0, 3.0])
    effect[1, 2] = 2.0
    assert LayerSkip().scalars({("effect", "layer"): effect})["ed_skip"].item() == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"components": ()}, "components is empty"),
        ({"cuts": ()}, "give one share"),
        ({"cuts": (0.5, 1.0)}, "give one share"),
        ({"max_rows": 0}, "at least one branch"),
    ],
)
def test_options_that_leave_nothing_to_measure_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        LayerSkip(**options)
