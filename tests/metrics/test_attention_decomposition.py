import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.attention_scores import AttentionScores
from plmdepth.language_models.layer_stack import LayerStack, LayerView, Need
from plmdepth.metrics.attention_decomposition import AttentionDecomposition
from plmdepth.objectives.objective import Example
from plmdepth.proteins.protein import Protein
from tests.metrics.test_additive_scores import line_removed, reference
from tests.stacks import ALL, PROTEINS, example_for, stack_of

FAST = ("esm2", "progen2", "prot_bert", "prot_xlnet", "prot_t5_encoder")
FAMILIES = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in sorted(ALL)]


class Scores:
    """Keeps the scores of all layers."""

    needs: frozenset[Need] = frozenset({"attention_scores"})

    def __init__(self) -> None:
        self.layers: list[AttentionScores] = []

    def embedded(self, state: Tensor) -> None:
        pass

    def observe(self, view: LayerView) -> None:
        assert view.attention_scores is not None
        self.layers.append(view.attention_scores)


def all_scores(stack: LayerStack, example: Example) -> list[AttentionScores]:
    recorder = Scores()
    with torch.no_grad():
        stack.run(example.whole().tokens, [recorder])
    return recorder.layers


def measured(stack: LayerStack, example: Example, **options: Any) -> dict[str, Tensor]:
    """Return every quantity, ``[sequence, head, layer]``."""
    metric = AttentionDecomposition(**options).bound(stack)
    curves = metric.measure(stack, example).curves
    return {each.name: metric.of_heads(curves, each.name) for each in metric.per_head}


@pytest.mark.parametrize("scores", ["logits", "probabilities"])
@pytest.mark.parametrize("special_tokens", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_head_is_what_numpy_finds_in_a_run_without_padding(
    family: str, special_tokens: bool, scores: str
) -> None:
    stack = stack_of(family, n_layers=2) if "t5" not in family and family != "ankh" else stack_of(family)
    example = example_for(stack, PROTEINS[1:])
    found = measured(stack, example, special_tokens=special_tokens, scores=scores)
    tokens = example.whole().tokens
    for row in range(2):
        alone = all_scores(stack, example.sequence(row))
        mask = tokens.attended if special_tokens else tokens.residues
        kept = mask[row][tokens.attended[row]].nonzero()[:, 0]
        for layer, of_layer in enumerate(alone):
            matrices = getattr(of_layer, scores)[0][:, kept[:, None], kept].double()
            if not stack.anatomy.causal and matrices.isinf().any():
                pytest.skip("pairs are masked")
            for head, matrix in enumerate(matrices):
                a, b, _, r = reference(matrix, stack.anatomy.causal)
                expected = (line_removed(a)[0], line_removed(b)[0], r)
                names = ("positional_variance", "semantic_variance", "reconstruction")
                mine = [found[name][row, head, layer].item() for name in names]
                np.testing.assert_allclose(mine, expected, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("family", FAST)
def test_neither_padding_nor_batches_nor_hidden_residues_change_anything(family: str) -> None:
    stack = stack_of(family)
    together = measured(stack, example_for(stack))
    hidden_elsewhere = example_for(stack, seed=5)
    for row, protein in enumerate(PROTEINS):
        alone = measured(stack, example_for(stack, (protein,)))
        for name, values in together.items():
            torch.testing.assert_close(values[row], alone[name][0], rtol=1e-3, atol=1e-4, msg=name)
    for name, values in measured(stack, hidden_elsewhere).items():
        torch.testing.assert_close(values, together[name])


def test_residues_are_hidden_in_the_batch_that_is_read_whole() -> None:
    example = example_for(stack_of("esm2"))
    assert (example.tokens.ids != example.whole().tokens.ids).any()
    assert torch.equal(example.sequence(1).whole().tokens.ids, example.whole().tokens.sequence(1).ids)


def test_a_window_takes_the_first_tokens() -> None:
    stack, example = stack_of("esm2"), example_for(stack_of("esm2"), PROTEINS[:1])
    found = measured(stack, example, window=20)
    scores = all_scores(stack, example)[3].logits[0, 2, 1:21, 1:21].double()
    a, b, _, _ = reference(scores, causal=False)
    ratio = math.log(line_removed(a)[0] / line_removed(b)[0])
    assert found["log_ratio"][0, 2, 3].item() == pytest.approx(ratio, abs=1e-6)


def test_the_mean_stands_before_the_heads() -> None:
    stack = stack_of("esm2")
    metric = AttentionDecomposition().bound(stack)
    curves = metric.measure(stack, example_for(stack)).curves
    keys = [(each.name, each.component) for each in metric.quantities]
    assert curves.shape == (3, len(keys), 7)
    assert keys[:6] == [("positional_variance", name) for name in ("mean", "head 1", "head 2", "head 3", "head 4")] + [
        ("semantic_variance", "mean")
    ]
    assert curves[:, :, 0].isnan().all()
    mean = curves[:, keys.index(("log_ratio", "mean")), 1:]
    torch.testing.assert_close(mean, metric.of_heads(curves, "log_ratio").mean(1))


def test_too_short_a_sequence_has_no_values() -> None:
    stack = stack_of("esm2")
    example = example_for(stack, (Protein("short", "MKT"), PROTEINS[0]))
    values = measured(stack, example)["log_ratio"]
    assert values[0].isnan().all()
    assert not values[1].isnan().any()


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("progen2", {"estimator": "published"}, "min_norm"),
        ("dplm2_apart", {"special_tokens": True}, "metric.scores=probabilities"),
    ],
)
def test_what_cannot_be_fitted_is_refused(family: str, options: dict[str, Any], message: str) -> None:
    stack = stack_of(family)
    with pytest.raises(InputError, match=message):
        measured(stack, example_for(stack), **options)


def test_a_window_of_less_than_a_fit_needs_is_refused() -> None:
    with pytest.raises(InputError, match=r"metric\.window=3"):
        AttentionDecomposition(window=3)


@pytest.mark.parametrize("family", ["esm2", "prot_bert", "prot_t5_encoder"])
def test_probabilities_are_what_hugging_face_returns_with_eager_attention(family: str) -> None:
    stack = stack_of(family)
    example = example_for(stack)
    tokens = example.whole().tokens
    module = stack.module.get_encoder() if family == "prot_t5_encoder" else stack.module
    with torch.no_grad():
        theirs = module(tokens.ids, attention_mask=tokens.attended.long(), output_attentions=True).attentions
    mine = all_scores(stack, example)
    assert len(mine) == len(theirs) == stack.n_layers
    for ours, attentions in zip(mine, theirs, strict=True):
        kept = tokens.attended[:, None, :, None].expand_as(attentions)
        torch.testing.assert_close(ours.probabilities[kept], attentions[kept], rtol=0, atol=1e-6)


def test_heads_are_counted_from_the_model() -> None:
    assert {family: stack_of(family).n_heads for family in FAST} == dict.fromkeys(FAST, 4)
    assert replace(AttentionDecomposition()).n_heads == 0
