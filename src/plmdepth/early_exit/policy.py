"""When a protein leaves the model: how sure the heads are of it, and the first layer that is sure enough.

A head gives a protein one answer, or one for each of its residues. The certainty of an answer is a number from 0 to 1.
A protein leaves at a threshold t if at least a share s of its n answers has a certainty of at least t. That is so
exactly if the k-th largest certainty is at least t, where k is the least whole number with ``k / n >= s``; this k-th
largest is the confidence of the protein. For one answer it is the answer's certainty.

Hart et al. 2025 let a protein leave where a share of its residues is above the threshold; their published code tries
shares of 0.8 and 0.9 (``early_exit/script/run.py``). Layer 1 is the first that may be left from: the embedding has read
nothing of its surroundings yet.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Fallback = Literal["last", "most_confident"]
"""What is taken of a protein that was never sure: the last layer's prediction, or its most confident layer's."""
FALLBACKS: tuple[Fallback, ...] = ("last", "most_confident")

Certainty = Callable[[Tensor], Tensor]
"""From probabilities ``[..., class]`` to how sure each answer is, ``[...]``, in 0..1."""
CertaintyName = Literal["max_probability", "mean_certainty"]
RESIDUE_SHARE = 0.8
_ROUNDING = 1e-9
_PADDED_AT_ONCE = 64  # proteins that are padded to one length


def max_probability(probabilities: Tensor) -> Tensor:
    """Return the probability of the likeliest class, ``[...]`` (Hart et al. 2025).

    Args:
        probabilities: ``[..., class]``; of a multi-label task the likeliest term counts.
    """
    return probabilities.amax(-1)


def mean_certainty(probabilities: Tensor) -> Tensor:
    """Return the mean over terms of ``max(p, 1 - p)``, ``[...]``, from 0.5 to 1: being sure of absence counts too.

    Args:
        probabilities: of independent terms, ``[..., term]``.
    """
    return torch.maximum(probabilities, 1 - probabilities).mean(-1)


CERTAINTIES: MappingProxyType[CertaintyName, Certainty] = MappingProxyType(
    {"max_probability": max_probability, "mean_certainty": mean_certainty}
)


@dataclass(frozen=True)
class ProteinConfidence:
    """How sure the heads are of a protein.

    Attributes:
        certainty: of one answer.
        share: of a protein's answers that must be as sure, above 0 and at most 1; without effect on a single answer.
    """

    certainty: Certainty
    share: float = 1.0

    def __call__(self, probabilities: Tensor, present: Tensor) -> Tensor:
        """Return the confidence of every protein, ``[protein]``.

        Args:
            probabilities: of the answers, padded, ``[protein, answer, class]``.
            present: which answers there are, ``[protein, answer]``; one a protein at least.
        """
        return surest_share(self.certainty(probabilities), present, self.share)

    def of_rows(self, probabilities: Tensor, counts: Tensor) -> Tensor:
        """Return the confidence of every layer and protein, ``[layer, protein]``, from rows that are not padded.

        Args:
            probabilities: ``[layer, row, class]``, the rows of a protein one after another.
            counts: rows of each protein, ``[protein]``.
        """
        certainty = self.certainty(probabilities).T.split(counts.tolist())  # [row, layer] of each protein
        found = []
        for some in torch.arange(len(counts)).split(_PADDED_AT_ONCE):
            padded = pad_sequence([certainty[i] for i in some], batch_first=True).permute(2, 0, 1)
            present = torch.arange(padded.shape[2]) < counts[some, None]
            found.append(surest_share(padded, present, self.share))
        return torch.cat(found, dim=1)


def surest_share(certainty: Tensor, present: Tensor, share: float) -> Tensor:
    """Return the highest certainty that at least a share of a protein's answers reaches, ``[..., protein]``.

    Args:
        certainty: ``[..., protein, answer]``.
        present: which answers there are, ``[protein, answer]``.
        share: above 0 and at most 1.
    """
    ranked = certainty.masked_fill(~present, -torch.inf).sort(dim=-1, descending=True).values
    needed = torch.tensor([n_needed(share, n) for n in present.sum(-1).tolist()], device=certainty.device)
    return ranked.gather(-1, (needed - 1).expand(ranked.shape[:-1])[..., None])[..., 0]


def n_needed(share: float, n: int) -> int:
    """Return how many of n answers are a share of them: the least k with ``k / n >= share``, and at least one.

    A product ``share * n`` that is above a whole number by rounding alone counts as that number.

    >>> [n_needed(0.8, n) for n in (1, 5, 6, 10)], n_needed(0.55, 100)
    ([1, 4, 5, 8], 55)
    """
    return max(1, math.ceil(share * n - _ROUNDING))


class Exits(NamedTuple):
    """Where proteins leave, for every threshold.

    Attributes:
        layer: whose prediction is taken, ``[threshold, protein]``, 1..L.
        computed: layers that had to be run, ``[threshold, protein]``; L for a protein that was never sure.
    """

    layer: Tensor
    computed: Tensor


def exits(confidence: Tensor, thresholds: Tensor, fallback: Fallback) -> Exits:
    """Return where proteins leave: at the first layer whose confidence reaches the threshold (Schwartz et al. 2020).

    Args:
        confidence: of layers 0..L, ``[layer, protein]``.
        thresholds: ``[threshold]``; compared in the precision of the confidence, as they are when proteins run.
        fallback: what is taken of a protein that was never sure; of equally confident layers the first.
    """
    usable = confidence[1:]
    n_layers = len(usable)
    sure = usable[None] >= thresholds.to(usable)[:, None, None]
    first = sure.int().argmax(1) + 1
    left = sure.any(1)
    never = usable.argmax(0) + 1 if fallback == "most_confident" else torch.full_like(first[0], n_layers)
    return Exits(torch.where(left, first, never), torch.where(left, first, n_layers))


def predictions_at(probabilities: Tensor, layer: Tensor) -> Tensor:
    """Return the prediction of every row at its layer, ``[row, class]``.

    Args:
        probabilities: of layers 0..L, ``[layer, row, class]``; a row is a protein, or a residue.
        layer: ``[row]``.
    """
    return probabilities[layer, torch.arange(len(layer), device=layer.device)]
