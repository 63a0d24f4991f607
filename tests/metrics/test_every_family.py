"""Every metric for every family: the naive references of the metrics' own tests.

A value may differ by 1e-5 of itself, and by 1e-6 where it is near zero, in single precision. Ankh runs in double: its
head is not scaled, and its losses are large. So do all in integrated gradients, since rounding adds up in integrals;
there a place may differ by 1e-4 of the largest.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.families import gpt2
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.ablation import Ablation
from plmdepth.metrics.direct_effect import DirectEffect
from plmdepth.metrics.erasure import Erasure
from plmdepth.metrics.gradients import Gradients
from plmdepth.metrics.integrated_gradients import PLACES, IntegratedGradients
from plmdepth.metrics.intervention_masks import COMPONENTS
from plmdepth.metrics.layer_skip import LayerSkip
from plmdepth.metrics.logit_lens import LogitLens
from plmdepth.metrics.metric import Metric
from plmdepth.metrics.residual import Residual
from plmdepth.objectives.objective import Example
from plmdepth.proteins.protein import Protein
from tests.interventions.test_mean_states import naive as mean_of_data
from tests.language_models.families.test_gpt2 import write_tokenizer
from tests.metrics import test_ablation as ablation
from tests.metrics import test_direct_effect as direct_effect
from tests.metrics import test_erasure as erasure
from tests.metrics import test_gradients as gradients
from tests.metrics import test_integrated_gradients as integrated_gradients
from tests.metrics import test_layer_skip as layer_skip
from tests.metrics import test_logit_lens as logit_lens
from tests.metrics import test_residual as residual
from tests.recorder import watched
from tests.stacks import ALL, HEADLESS, VARIANTS, case_of, cases, example_for, stack_of, with_structure

N_LAYERS = 3
FAST = [name for case in cases() for name in case.fast]
"""A kind each that the metrics' own tests lack: two halves, a second attention, scaled sums, a decoder."""


def families(fast: Collection[str] = FAST) -> list[Any]:
    """Return all families with a prediction; those that are not named are slow."""
    names = sorted({*ALL, *VARIANTS} - {*HEADLESS})
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


FAMILIES = families()


def protein(identifier: str, sequence: str) -> Protein:
    """Return a protein whose structure tokens are letters of 3Di and codes of DPLM-2 alike."""
    made_up = with_structure(identifier, sequence)
    assert made_up.structure_tokens is not None
    return replace(made_up, structure_tokens=tuple(code % 20 for code in made_up.structure_tokens))


PROTEINS = (protein("canonical", "MKTVRQERLLSIV"), protein("rare", "GAXUDLYWC"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A dozen tokens are not worth threads, which wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def stack(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LayerStack:
    """A miniature of few layers, without the rows of ProtGPT2's vocabulary that no protein here needs."""
    monkeypatch.setattr(gpt2, "VOCABULARY_ROWS", 300)
    model = {**ALL, **VARIANTS}[family]
    layers = {name: N_LAYERS for name in ("n_layers", "n_decoder_layers") if hasattr(model, name)}
    made = stack_of(family, **layers)
    if family == "protgpt2_pieces":
        write_tokenizer(tmp_path)
        made = replace(made, spelling=model.published_spelling(tmp_path))
    if family in case_of(family).in_double:
        made.module.double()
    return made


@pytest.fixture
def example(stack: LayerStack) -> Example:
    """Both proteins, padded, as the stack's own objective presents them."""
    return example_for(stack, PROTEINS)


def scopes(stack: LayerStack) -> tuple[str, str, str]:
    """Return two scopes that the model can have, and the one that it cannot."""
    return ("all", "future", "targets") if stack.anatomy.causal else ("all", "targets", "future")


def assert_close(found: Tensor, expected: Tensor, what: object = "") -> None:
    torch.testing.assert_close(
        found, expected, rtol=1e-5, atol=1e-6, equal_nan=True, check_dtype=False, msg=lambda m: f"{what}: {m}"
    )


def assert_pairs_equal(metric: LayerSkip | DirectEffect, reference: Any, stack: LayerStack, example: Example) -> None:
    """Hold curves and matrices of every sequence and component to one full run of the model for each pair of layers."""
    curves, matrices = metric.measure(stack, example)
    assert matrices is not None
    for row in range(len(PROTEINS)):
        expected = reference(stack, example.sequence(row), metric.scope, metric.reduction, metric.cuts)
        for index, component in enumerate(COMPONENTS):
            what = (metric.scope, row, component)
            assert_close(curves[row, index, 1:], expected[f"output/{component}"], what)
            assert_close(matrices[row, index], expected[f"effect/{component}"], what)
            assert metric.scope != "all" or expected[f"effect/{component}"].nan_to_num(1).min() > 1e-3, what


@pytest.mark.parametrize("family", sorted({*ALL, *VARIANTS}))
def test_residual_equals_one_residue_after_the_other(family: str, stack: LayerStack, example: Example) -> None:
    values = Residual().measure(stack, example).curves
    expected = residual.naive_residual(stack, example, case_of(family).norms)
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("family", sorted({*ALL, *VARIANTS} - {*HEADLESS}))
@pytest.mark.parametrize("vocabulary", ["amino_acids", "full"])
def test_logit_lens_equals_one_residue_after_the_other(vocabulary: str, stack: LayerStack, example: Example) -> None:
    values = LogitLens(vocabulary).measure(stack, example).curves
    states = watched(stack, example).states
    amino_acids = stack.spelling.amino_acids.tolist()
    kept = amino_acids if vocabulary == "amino_acids" else list(range(stack.logits(states[0]).shape[-1]))
    expected = logit_lens.naive_lens_over(kept, stack, states, example)
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_layer_skip_equals_one_full_run_for_every_layer(stack: LayerStack, example: Example) -> None:
    for scope, reduction in zip(scopes(stack), ("max", "mean"), strict=False):
        metric = LayerSkip(scope=scope, reduction=reduction, cuts=(0.3, 0.7))
        assert_pairs_equal(metric, layer_skip.naive, stack, example)


@pytest.mark.parametrize("family", FAMILIES)
def test_direct_effect_equals_one_full_run_for_every_pair_of_layers(stack: LayerStack, example: Example) -> None:
    for scope, reduction in zip(scopes(stack), ("max", "mean"), strict=False):
        metric = DirectEffect(scope=scope, reduction=reduction, cuts=(0.3, 0.7))
        assert_pairs_equal(metric, direct_effect.naive, stack, example)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_reference_takes_out_adds_up_to_the_layer(stack: LayerStack, example: Example) -> None:
    added = direct_effect.clean_contributions(stack, example.sequence(0))
    attention, mlp, layer = (torch.stack(added[component]) for component in ("attention", "mlp", "layer"))
    apart = (attention + mlp - layer).norm(dim=-1) / layer.norm(dim=-1)
    if stack.anatomy.wiring == "post_norm":
        assert apart.min() > 1e-2
    else:
        assert apart.max() < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_ablation_equals_models_whose_layers_are_rearranged(stack: LayerStack, example: Example) -> None:
    curves, matrices = Ablation().measure(stack, example)
    for index, (key, expected) in enumerate(ablation.naive(stack, example).items()):
        assert_close(curves[:, index], expected, key)
    assert matrices is not None
    assert_close(matrices, ablation.naive_blocks(stack, example))


@pytest.mark.parametrize("family", FAMILIES)
def test_erasure_equals_one_full_run_for_every_layer_and_position(stack: LayerStack, example: Example) -> None:
    metric, means = Erasure(neighbourhood=2).prepared(stack, [example]), mean_of_data(stack, example)
    curves = metric.measure(stack, example).curves
    for row in range(len(PROTEINS)):
        alone = example.sequence(row)
        positions = erasure.drawn(alone, metric.seed, metric.max_positions)
        assert_close(curves[row], erasure.naive(stack, alone, means, positions, metric.neighbourhood), row)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_equal_one_backward_pass_of_the_model_for_every_layer(stack: LayerStack, example: Example) -> None:
    curves = Gradients().measure(stack, example).curves
    for row in range(len(PROTEINS)):
        for layer in range(N_LAYERS + 1):
            expected = torch.tensor(gradients.naive(stack, example.sequence(row), layer))
            assert_close(curves[row, :, layer], expected, (row, layer))


def fine_integral(stack: LayerStack, example: Example, layer: int, ends: tuple[Tensor, Tensor], steps: int) -> Tensor:
    """Return attributions ``[token]`` by two midpoint rules, from which the leading error of both is taken out."""
    coarse, fine = (
        integrated_gradients.riemann(stack, example, layer, *ends, n, at_once=25) for n in (steps, 2 * steps)
    )
    return (4 * fine - coarse) / 3


@pytest.mark.parametrize("family", families({"esm3_both", "esmc"}))
def test_integrated_gradients_equal_a_fine_integral_through_the_model_itself(
    family: str, stack: LayerStack, example: Example
) -> None:
    stack.module.double()
    # A gradient that jumps, at the kink of a ReLU, is hard to integrate for both rules.
    share, nodes, steps = (2e-2, 512, 500) if family == "prot_t5" else (1e-4, 128, 50)
    alone, means = integrated_gradients.with_few_targets(example).sequence(0), mean_of_data(stack, example)
    metric = IntegratedGradients(tolerance=1e-5, max_nodes=nodes).prepared(stack, [example])
    found = metric.measure(stack, alone).curves[0, : len(PLACES)]
    for layer, state in enumerate(layer_skip.full_run(stack, alone)[0]):
        tokens = fine_integral(stack, alone, layer, (means[layer].to(state).expand_as(state), state), steps)
        expected = torch.tensor(integrated_gradients.naive_places(alone, tokens), dtype=torch.float64)
        torch.testing.assert_close(found[:, layer], expected, rtol=0, atol=share * float(expected.abs().max()))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_token_changes_those_before_it_unless_the_anatomy_is_causal(stack: LayerStack, example: Example) -> None:
    alone = example.sequence(0)
    last = int(alone.context[0].nonzero()[-1])
    clean = erasure.predictions(stack, alone)
    with erasure.erased(stack, 0, last, torch.linspace(-1, 1, stack.width)):
        moved = (erasure.predictions(stack, alone) - clean).norm(dim=-1)
    assert (moved[:last] == 0).all() if stack.anatomy.causal else moved[:last].max() > 1e-6
    assert moved[last:].max() > 1e-6


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("metric", [LayerSkip, DirectEffect])
def test_the_scope_that_a_family_cannot_have_is_refused(
    metric: type[LayerSkip | DirectEffect], stack: LayerStack, example: Example
) -> None:
    *_, impossible = scopes(stack)
    with pytest.raises(InputError, match=rf"^metric\.scope={impossible} .*; use metric\.scope=[^\n]*$"):
        metric(scope=impossible).measure(stack, example)


@pytest.mark.parametrize("family", sorted(HEADLESS))
@pytest.mark.parametrize(
    "metric", [LayerSkip(), DirectEffect(), Ablation(), Erasure(), Gradients(), IntegratedGradients()]
)
def test_a_model_that_predicts_nothing_is_refused(metric: Metric, stack: LayerStack, example: Example) -> None:
    with pytest.raises(
        InputError, match=r"^this model predicts nothing by itself; choose a metric that needs no predictions$"
    ):
        metric.prepared(stack, [example]).measure(stack, example)
