"""How sure a head is of a protein, and how wrong it was.

Confidences, from 0 to 1:

* single label: the highest probability (the softmax response of Geifman and El-Yaniv 2017);
* many labels: `mean_certainty`, the mean over terms of ``max(p, 1 - p)``, which counts being sure of absence; or the
  highest probability of any term, by which the code of Hart et al. 2025 lets a protein leave early.

Losses: 0/1 for a single label; the mean binary cross-entropy over terms for many. Hart et al. rank pairs of protein and
term instead, by p itself, with the cross-entropy of the pair: `selective.aurc` of the pairs, flattened, is theirs.
"""

import torch
from torch import Tensor

from plmdepth.scores.inputs import NOT_SCORED, checked_labels, checked_probabilities, checked_targets

_FLOOR = 1e-7
"""Probabilities of 0 and 1 count as this far from it, as in the code of Hart et al. 2025; the loss stays below 16.2."""


def max_probability(probabilities: Tensor) -> Tensor:
    """Return the highest probability of any class, ``[layer, item]``, double precision.

    Args:
        probabilities: ``[layer, item, class]`` in [0, 1].

    Raises:
        ValueError: a value or a shape is not as said.
    """
    return checked_probabilities(probabilities).amax(-1).double()


def mean_certainty(probabilities: Tensor) -> Tensor:
    """Return the mean over terms of ``max(p, 1 - p)``, ``[layer, protein]``, from 0.5 to 1, double precision.

    Args:
        probabilities: ``[layer, protein, term]`` in [0, 1].

    Raises:
        ValueError: a value or a shape is not as said.
    """
    known = checked_probabilities(probabilities).double()
    return torch.maximum(known, 1 - known).mean(-1)


def zero_one_loss(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return 1 where the most probable class is wrong and 0 where it is right, ``[layer, item]``, double precision.

    Args:
        probabilities: ``[layer, item, class]`` in [0, 1].
        labels: class of every item, ``[item]``; take the items without a label out before.

    Raises:
        ValueError: a value or a shape is not as said, or an item has no label.
    """
    known = checked_probabilities(probabilities)
    classes = checked_labels(known, labels)
    if (classes == NOT_SCORED).any():
        raise ValueError("an item without a label has no loss; take it out before")
    return (known.argmax(-1) != classes).double()


def binary_cross_entropy(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over terms of ``-y log p - (1 - y) log(1 - p)``, ``[layer, protein]``, nats, double precision.

    Args:
        probabilities: ``[layer, protein, term]`` in [0, 1].
        targets: 0 or 1, ``[protein, term]``.

    Raises:
        ValueError: a value or a shape is not as said.
    """
    known = checked_probabilities(probabilities)
    true = checked_targets(known, targets)
    known = known.double().clamp(_FLOOR, 1 - _FLOOR)
    return -torch.where(true, known, 1 - known).log().mean(-1)
