"""Scores of models whose knowledge is known."""

import math

import pytest
import torch

from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.objectives.autoregressive import Autoregressive
from plmdepth.objectives.masked import Masked
from plmdepth.pretraining.module import objective_loss
from plmdepth.pretraining.score import _model_losses, score
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


def test_read_in_reverse_a_residue_is_predicted_from_those_after_it() -> None:
    """The model's first residue of a pair is then the one whose partner is visible."""
    scores = score(blind(stack_of("progen2_reverse")), Autoregressive(), PROTEINS, seed=0)
    best, pairs = [], []
    for protein in PROTEINS:
        visible = torch.ones(len(protein), len(protein)).triu(1).bool().numpy()
        losses = coupling_oracle(protein, visible)
        best += losses.tolist()
        pairs += losses[[first for first, _ in protein.contacts]].tolist()
    assert scores["all"].coupling_oracle == pytest.approx(sum(best) / len(best))
    assert scores["coupled"].coupling_oracle == pytest.approx(sum(pairs) / len(pairs))


def test_losses_of_a_model_read_in_reverse_belong_to_the_residues_that_it_predicts() -> None:
    """A head that always expects M is right at the residues M, which stand at the beginning of these proteins."""
    stack = blind(stack_of("progen2_reverse"))
    methionine = stack.spelling.letters["M"]
    stack.module.lm_head.bias.data[methionine] = 20.0
    protein = PROTEINS[0]
    targets, losses = _model_losses(stack, Autoregressive(), [protein], seed=0)
    assert targets[0] == list(reversed(range(len(protein))))
    found = [protein.sequence[position] for position, loss in zip(targets[0], losses[0], strict=True) if loss < 1]
    assert found == ["M"] * protein.sequence.count("M")


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
        found = objective_loss(stack.module, stack.anatomy, weighted)
        assert found.item() == pytest.approx((expected / total).item(), rel=1e-5)
