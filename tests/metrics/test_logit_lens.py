"""The lens against a naive reference, identities and planted depth."""

import math

import pytest
import torch
from torch import Tensor

from plmdepth.controls.dead_layers import DeadLayers
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.logit_lens import QUANTITIES, LogitLens, lens_statistics
from plmdepth.objectives.masked import Masked
from plmdepth.objectives.objective import Example
from plmdepth.proteins.protein import CANONICAL, Protein
from tests.recorder import watched
from tests.stacks import EVERYWHERE, example_for, stack_of

FAMILIES = sorted(EVERYWHERE)
NAMES = [quantity.name for quantity in QUANTITIES]


def naive_lens(stack: LayerStack, example: Example, vocabulary: str) -> Tensor:
    """One residue at a time, with the formulas written out."""
    states = watched(stack, example).states
    letters = [stack.spelling.letters[letter] for letter in CANONICAL]
    kept = letters if vocabulary == "amino_acids" else list(range(stack.logits(states[0]).shape[-1]))
    return naive_lens_over(kept, stack, states, example)


def naive_lens_over(kept: list[int], stack: LayerStack, states: list[Tensor], example: Example) -> Tensor:
    result = torch.full((len(example.targets), len(QUANTITIES), len(states)), math.nan, dtype=torch.float64)
    for sequence in range(len(example.targets)):
        rows = example.scored[sequence].nonzero()[:, 0].tolist()
        for layer in range(len(states)):
            values = [naive_residue(stack, states, sequence, row, layer, kept, example) for row in rows]
            result[sequence, :, layer] = torch.tensor(values, dtype=torch.float64).mean(0)
    return result


def naive_residue(
    stack: LayerStack, states: list[Tensor], sequence: int, row: int, layer: int, kept: list[int], example: Example
) -> list[float]:
    p = distribution(stack, states[layer][sequence, row], kept)
    final = distribution(stack, states[-1][sequence, row], kept)
    truth = kept.index(int(example.labels[sequence, row]))
    best = sorted(range(len(p)), key=lambda i: -p[i])
    best_final = sorted(range(len(p)), key=lambda i: -final[i])
    return [
        sum(a * math.log(a / b) for a, b in zip(p, final, strict=True) if a > 0),
        float(best[0] == best_final[0]),
        len(set(best[:5]) & set(best_final[:5])) / 5,
        -sum(a * math.log(a) for a in p if a > 0),
        -math.log(p[truth]),
        float(best[0] == truth),
    ]


def distribution(stack: LayerStack, state: Tensor, kept: list[int]) -> list[float]:
    with torch.no_grad():
        return stack.logits(state[None])[0, kept].double().softmax(-1).tolist()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("vocabulary", ["amino_acids", "full"])
def test_the_lens_equals_the_naive_reference(family: str, vocabulary: str) -> None:
    stack = stack_of(family)
    example = example_for(stack)
    values = LogitLens(vocabulary).measure(stack, example).curves
    torch.testing.assert_close(values, naive_lens(stack, example, vocabulary), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_lens_at_the_last_layer_is_the_model(family: str) -> None:
    stack = stack_of(family)
    last = LogitLens().measure(stack, example_for(stack)).curves[:, :, -1]
    assert last[:, NAMES.index("kl_to_final")].tolist() == [0, 0, 0]
    assert last[:, NAMES.index("top1_overlap")].tolist() == [1, 1, 1]
    assert last[:, NAMES.index("top5_overlap")].tolist() == [1, 1, 1]


def test_with_a_dead_upper_half_the_kl_is_exactly_zero_from_its_start() -> None:
    stack = DeadLayers(layers=[4, 5, 6]).stack(stack_of("esm2"))
    kl = LogitLens().measure(stack, example_for(stack)).curves[:, NAMES.index("kl_to_final")]
    assert (kl[:, 3:] == 0).all()
    assert (kl[:, :3] > 1e-3).all()
    assert LogitLens().scalars(curves_of(kl.mean(0)))["ed_kl"].item() <= 3


def curves_of(kl: Tensor) -> dict[tuple[str, str], Tensor]:
    other = torch.ones_like(kl)
    return {(name, ""): kl if name == "kl_to_final" else other for name in NAMES}


def test_a_prediction_that_is_known_layer_by_layer() -> None:
    half = math.log(0.5)
    sure, torn, tiny = 0.0, half, -1e9
    log_probabilities = torch.tensor(
        [
            [[torn, torn, tiny, tiny, tiny, tiny]],
            [[sure, tiny, tiny, tiny, tiny, tiny]],
        ]
    )
    statistics = dict(zip(NAMES, lens_statistics(log_probabilities, torch.tensor([0]))[..., 0].tolist(), strict=True))
    assert statistics["entropy"] == pytest.approx([math.log(2), 0.0])
    assert statistics["cross_entropy"] == pytest.approx([math.log(2), 0.0])
    assert statistics["kl_to_final"][1] == 0.0


def test_divergences_are_never_negative() -> None:
    generator = torch.Generator().manual_seed(0)
    near = torch.randn(1, 50, 20, generator=generator).repeat(3, 1, 1)
    near[0] += 1e-6 * torch.randn(50, 20, generator=generator)
    assert (lens_statistics(near.log_softmax(-1), torch.zeros(50, dtype=torch.long))[0] >= 0).all()


def test_the_amino_acid_vocabulary_ignores_all_other_tokens() -> None:
    stack = stack_of("esm2")
    example = example_for(stack)
    before = LogitLens().measure(stack, example).curves
    with torch.no_grad():
        stack.module.lm_head.bias[stack.spelling.letters["X"]] += 50.0
    torch.testing.assert_close(LogitLens().measure(stack, example).curves, before)
    assert (LogitLens("full").measure(stack, example).curves[:, NAMES.index("accuracy")] == 0).all()


def test_a_sequence_without_targets_has_no_value() -> None:
    stack = stack_of("esm2")
    proteins = (Protein("unknown", "XXXX"), Protein("known", "MKTV"))
    values = LogitLens().measure(stack, Masked().present(proteins, stack.spelling, 0)).curves
    assert values[0].isnan().all()
    assert not values[1].isnan().any()
