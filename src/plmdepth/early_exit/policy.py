"""Where proteins would leave, for any number of thresholds at once, from what all heads said (Schwartz et al. 2020).

Layer 1 is the first that may be left from: the embedding has read nothing of its surroundings yet.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Fallback = Literal["last", "most_confident"]
FALLBACKS: tuple[Fallback, ...] = ("last", "most_confident")


class Exits(NamedTuple):
    """Where proteins leave, for every threshold.

    Attributes:
        layer: whose prediction is taken, ``[threshold, protein]``, 1..L.
        computed: layers that had to be run, ``[threshold, protein]``; L for a protein that was never sure.
    """

    layer: Tensor
    computed: Tensor


def exits(confidence: Tensor, thresholds: Tensor, fallback: Fallback) -> Exits:
    """Return where proteins leave: at the first layer whose confidence reaches the threshold.

    Args:
        confidence: of layers 0..L, ``[layer, protein]``.
        thresholds: ``[threshold]``; compared in the precision of the confidence, as they are when proteins run.
        fallback: what is taken of a protein that was never sure: the ``last`` layer's prediction, or the
            ``most_confident`` one's (the first of equals).
    """
    usable = confidence[1:]
    n_layers = len(usable)
    sure = usable[None] >= thresholds.to(usable)[:, None, None]
    first = sure.int().argmax(1) + 1
    left = sure.any(1)
    never = usable.argmax(0) + 1 if fallback == "most_confident" else torch.full_like(first[0], n_layers)
    return Exits(torch.where(left, first, never), torch.where(left, first, n_layers))


def chosen(probabilities: Tensor, layer: Tensor) -> Tensor:
    """Return the prediction of every row at its layer, ``[row, class]``.

    Args:
        probabilities: of layers 0..L, ``[layer, row, class]``; a row is a protein, or a residue.
        layer: ``[row]``.
    """
    return probabilities[layer, torch.arange(len(layer), device=layer.device)]
