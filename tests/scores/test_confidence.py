import math

import numpy as np
import pytest
import torch

from plmdepth.scores.confidence import binary_cross_entropy, max_probability, mean_certainty, zero_one_loss
from tests.scores.references import multiclass, multilabel


def test_confidences_are_those_of_a_loop() -> None:
    probabilities, _ = multilabel()
    for layer in range(3):
        for protein in range(12):
            row = probabilities[layer, protein].double().tolist()
            assert max_probability(probabilities)[layer, protein].item() == max(row)
            expected = np.mean([max(p, 1 - p) for p in row])
            assert mean_certainty(probabilities)[layer, protein].item() == pytest.approx(expected)


def test_certainty_is_one_of_a_decided_head_and_a_half_of_an_undecided_one() -> None:
    heads = torch.tensor([[[0.0, 1.0, 0.0]], [[0.5, 0.5, 0.5]]])
    assert mean_certainty(heads)[:, 0].tolist() == [1.0, 0.5]
    assert max_probability(heads)[:, 0].tolist() == [1.0, 0.5]


def test_losses_are_those_of_a_loop() -> None:
    probabilities, targets = multilabel()
    heads, labels = multiclass()
    heads, labels = heads[:, labels >= 0], labels[labels >= 0]
    loss, wrong = binary_cross_entropy(probabilities, targets), zero_one_loss(heads, labels)
    for layer in range(3):
        for protein in range(12):
            terms = [
                -math.log(max(p if true else 1 - p, 1e-7))
                for p, true in zip(probabilities[layer, protein].double().tolist(), targets[protein], strict=True)
            ]
            assert loss[layer, protein].item() == pytest.approx(np.mean(terms))
        for item, label in enumerate(labels.tolist()):
            row = heads[layer, item].tolist()
            assert wrong[layer, item].item() == (row.index(max(row)) != label)


def test_being_sure_and_wrong_costs_much_and_not_infinity() -> None:
    loss = binary_cross_entropy(torch.tensor([[[1.0], [0.0], [1.0]]]), torch.tensor([[0], [1], [1]]))
    assert loss[0].tolist() == pytest.approx([-math.log(1e-7)] * 2 + [0], abs=1e-6)


def test_an_item_without_a_label_has_no_loss() -> None:
    with pytest.raises(ValueError, match="take it out"):
        zero_one_loss(*multiclass())


def test_logits_are_refused() -> None:
    probabilities, targets = multilabel()
    for call in (max_probability, mean_certainty, lambda p: binary_cross_entropy(p, targets)):
        with pytest.raises(ValueError, match="not logits"):
            call(probabilities - 0.5)
