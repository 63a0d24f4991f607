"""Precision of the pairs that are ranked highest.

``precision at k`` is the share of contacts among the k pairs of a protein with the highest scores, k being L, L/2 or
L/5 rounded down and L the number of residues that the model reads; the ranges of the separation are ranked apart. Pairs
with equal scores share the places that they take: the value is the mean over all orders of them, and hangs on none.

A protein has no value where a range holds fewer than k pairs, or no contact: it is left out of that mean and counted
(`left_out`), never taken for 0.
"""

from collections import Counter
from collections.abc import Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from plmdepth.metrics.quantity import Quantity
from plmdepth.proteins.tasks.contacts import ContactProtein, Pairs

RANGES = MappingProxyType({"long": (24, None), "medium": (12, 23), "short": (6, 11)})
"""Least and most separation."""
CUTS = MappingProxyType({"precision_at_l": 1, "precision_at_l2": 2, "precision_at_l5": 5})
"""What L is divided by."""
MAIN, MAIN_RANGE = "precision_at_l", "long"

QUANTITIES = tuple(
    Quantity(
        "probe", name, "", f"precision of the top L/{cut}" if cut > 1 else "precision of the top L", span, 1, (0, 1)
    )
    for span in RANGES
    for name, cut in CUTS.items()
)
"""What is measured of a protein, in this order; the first is the main one."""


def precision_at(scores: Tensor, contact: Tensor, k: int) -> Tensor:
    """Return the precision of the k pairs with the highest scores, ``[row]``.

    Args:
        scores: ``[row, pair]``.
        contact: ``[pair]`` boolean.
        k: at most the number of pairs.
    """
    least = scores.topk(k, dim=1).values[:, -1:]
    above, tied = (scores > least).double(), (scores == least).double()
    touching = contact.double()
    shared = (tied @ touching) / tied.sum(1)
    return (above @ touching + (k - above.sum(1)) * shared) / k


def precisions(scores: Tensor, pairs: Pairs, length: int) -> Tensor:
    """Return every quantity of one protein, ``[quantity, row]``; NaN where it is left out.

    Args:
        scores: ``[row, pair]``.
        pairs: the pairs.
        length: L, the residues of the protein.
    """
    contact, separation = torch.from_numpy(pairs.contact), torch.from_numpy(pairs.separation)
    found = torch.full((len(QUANTITIES), len(scores)), torch.nan, dtype=torch.float64)
    for index, quantity in enumerate(QUANTITIES):
        inside = _inside(separation, quantity.component)
        if reason_to_leave_out(contact[inside], k := _places(quantity, length)) is None:
            found[index] = precision_at(scores[:, inside], contact[inside], k)
    return found


def reason_to_leave_out(contact: Tensor, k: int) -> str | None:
    """Say why a protein has no precision at k among these pairs; None if it has."""
    if len(contact) < k:
        return "fewer pairs than are ranked"
    return None if contact.any() else "no contact"


def left_out(proteins: Sequence[ContactProtein]) -> list[Counter[str]]:
    """Return, for every quantity, how many proteins have no value, by reason."""
    found: list[Counter[str]] = [Counter() for _ in QUANTITIES]
    for each in proteins:
        pairs = each.pairs(min(low for low, _ in RANGES.values()))
        contact, separation = torch.from_numpy(pairs.contact), torch.from_numpy(pairs.separation)
        for quantity, counts in zip(QUANTITIES, found, strict=True):
            inside = contact[_inside(separation, quantity.component)]
            if (reason := reason_to_leave_out(inside, _places(quantity, len(each.protein)))) is not None:
                counts[reason] += 1
    return found


def _places(quantity: Quantity, length: int) -> int:
    return max(1, length // CUTS[quantity.name])


def _inside(separation: Tensor, span: str) -> Tensor:
    least, most = RANGES[span]
    inside = separation >= least
    return inside if most is None else inside & (separation <= most)
