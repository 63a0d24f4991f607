"""How sure the heads are of a protein: of its one answer, or of a share of the answers for its residues.

A head gives a protein one answer, or one for each of its residues. The certainty of an answer is a number from 0 to 1.
A protein leaves at a threshold t if at least a share s of its n answers has a certainty of at least t. That is so
exactly if the k-th largest certainty is at least t, where k is the least whole number with ``k / n >= s``; this k-th
largest is the confidence of the protein. For one answer it is the answer's certainty.

Hart et al. 2025 let a protein leave where a share of its residues is above the threshold; their published code tries
shares of 0.8 and 0.9 (``early_exit/script/run.py``).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Certainty = Callable[[Tensor], Tensor]
"""From probabilities ``[..., class]`` to how sure each answer is, ``[...]``, in 0..1."""
CertaintyName = Literal["max_probability", "mean_certainty"]
RESIDUE_SHARE = 0.8
_ROUNDING = 1e-9
_TOGETHER = 64  # proteins that are padded to one length at once


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
            probabilities: ``[layer, row, class]``, the rows of a protein together.
            counts: rows of each protein, ``[protein]``.
        """
        each = self.certainty(probabilities).T.split(counts.tolist())  # [row, layer] of each protein
        found = [self._padded(each[first : first + _TOGETHER]) for first in range(0, len(each), _TOGETHER)]
        return torch.cat(found, dim=1)

    def _padded(self, certainty: Sequence[Tensor]) -> Tensor:
        counts = torch.tensor([len(each) for each in certainty])
        padded = pad_sequence(list(certainty), batch_first=True).permute(2, 0, 1)
        return surest_share(padded, torch.arange(padded.shape[2]) < counts[:, None], self.share)


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
