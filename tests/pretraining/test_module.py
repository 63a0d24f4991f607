"""The training loss of every family, and that training lowers it."""

from dataclasses import replace

import pytest
import torch

from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import build_module
from plmdepth.objectives.objective import Example
from plmdepth.pretraining.module import Pretrainer, objective_loss
from plmdepth.pretraining.recipe import Recipe
from tests.stacks import ALL, HEADLESS, example_for, stack_of

WITH_A_HEAD = sorted({*ALL} - {*HEADLESS})


def naive_loss(stack: LayerStack, example: Example) -> float:
    """Return the mean loss of the targets, one after the other in double precision, from the last state."""
    with torch.no_grad():
        logits = stack.logits(stack.run(example.tokens)).double()
    losses, weights = [], []
    for row, token in example.scored.nonzero().tolist():
        scores = logits[row, token]
        losses.append(float(scores.exp().sum().log() - scores[example.labels[row, token]]))
        weights.append(float(example.weights[row]))
    return sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)


@pytest.mark.parametrize("family", WITH_A_HEAD)
def test_every_family_is_trained_on_what_its_last_layer_predicts(family: str) -> None:
    stack = stack_of(family)
    example = replace(example_for(stack), weights=torch.tensor([0.5, 2.0, 1.0]))
    with torch.no_grad():
        found = objective_loss(stack.module, stack.anatomy, example)
    assert found.item() == pytest.approx(naive_loss(stack, example), rel=1e-4)


@pytest.mark.parametrize("family", ["prot_t5", "ankh"])
def test_a_decoder_and_the_encoder_that_it_reads_learn_together(family: str) -> None:
    example = example_for(stack_of(family))
    torch.manual_seed(0)
    module = build_module(ALL[family])
    anatomy = ALL[family].anatomy(module)
    optimizer = Pretrainer(module, anatomy, Recipe(learning_rate=1e-2)).configure_optimizers()["optimizer"]
    before = objective_loss(module, anatomy, example)
    before.backward()
    assert all(block.layer[0].SelfAttention.o.weight.grad.abs().sum() > 0 for block in module.encoder.block)
    optimizer.step()
    assert objective_loss(module, anatomy, example) < before


def test_an_encoder_alone_has_nothing_to_be_trained_on() -> None:
    stack = stack_of("prot_t5_encoder")
    with pytest.raises(InputError, match=r"predicts nothing by itself and cannot be pretrained; use model\.part=deco"):
        Pretrainer(stack.module, stack.anatomy, Recipe())
