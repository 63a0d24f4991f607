"""Scores of models whose knowledge is known."""

import math

import pytest
import torch

from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.objectives.autoregressive import Autoregressive
from plmdepth.objectives.masked import Masked
from plmdepth.pretraining.module import objective_loss
from plmdepth.pretraining.score import score
from plmdepth.proteins.grammar.oracle import coupling_oracle, family_oracle
from plmdepth.proteins.grammar.sampling import sample_proteins
from tests.stacks import example_for, stack_of

PROTEINS = list(sample_proteins(0, "valid", 40))


def blind(stack: LayerStack) -> LayerStack:
    """Make the head say the same of every amino acid."""
    with torch.no_grad():
        for parameter in stack.module.lm_head.parameters():
            parameter.zero_()
    return stack


@pytest.mark.parametrize("family", ["esm2", "progen2"])
def test_a_blind_model_scores_the_logarithm_of_twenty(family: str) -> None:
    objective = Masked(0.3) if family == "esm2" else Autoregressive()
    scores = score(blind(stack_of(family)), objective, PROTEINS, seed=0)
    assert scores["all"].model == pytest.approx(math.log(20), rel=1e-5)
    assert scores["coupled"].model == pytest.approx(math.log(20), rel=1e-5)


def test_oracles_are_averaged_over_the_same_targets_as_the_model() -> None:
    scores = score(blind(stack_of("progen2")), Autoregressive(), PROTEINS, seed=0)
    family, coupled, pairs = [], [], []
    for protein in PROTEINS:
        n = len(protein)
        visible = torch.ones(n, n).tril(-1).bool().numpy()
        family += family_oracle(protein).tolist()
        best = coupling_oracle(protein, visible)
        coupled += best.tolist()
        pairs += best[[second for _, second in protein.contacts]].tolist()
    assert scores["all"].family_oracle == pytest.approx(sum(family) / len(family))
    assert scores["all"].coupling_oracle == pytest.approx(sum(coupled) / len(coupled))
    assert scores["coupled"].coupling_oracle == pytest.approx(sum(pairs) / len(pairs))
    assert scores["coupled"].family_oracle == pytest.approx(math.log(8), rel=1e-6)


def test_a_target_whose_partner_is_hidden_too_does_not_count_as_coupled() -> None:
    everything_hidden = score(blind(stack_of("esm2")), Masked(1.0), PROTEINS[:5], seed=0)
    assert math.isnan(everything_hidden["coupled"].model)
    assert everything_hidden["all"].coupling_oracle == everything_hidden["all"].family_oracle


def test_the_training_loss_weighs_targets_by_their_sequence() -> None:
    stack = stack_of("esm2")
    example = example_for(stack)
    with torch.no_grad():
        logits = stack.logits(stack.run(example.tokens)).log_softmax(-1)
        losses = -logits.gather(-1, example.labels[..., None])[..., 0]
        weights = torch.tensor([0.5, 2.0, 1.0])
        expected = sum(w * losses[i][example.scored[i]].sum() for i, w in enumerate(weights))
        total = sum(w * example.scored[i].sum() for i, w in enumerate(weights))
        weighted = type(example)(**{**vars(example), "weights": weights})
        assert objective_loss(stack.module, weighted).item() == pytest.approx((expected / total).item(), rel=1e-5)
