"""Attention: where every head looks, and how widely (Vig et al. 2021; Clark et al. 2019)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.attention_scores import AttentionScores
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.attention_heads import HeadMetric
from plmdepth.metrics.quantity import Quantity
from plmdepth.objectives.objective import Example

_QUANTITIES = (
    ("attention_entropy", "nats", "entropy of attention", (0, math.inf)),
    ("relative_entropy", "", "entropy divided by its largest value", (0, 1)),
    ("attention_distance", "tokens", "mean distance to what is read", (0, math.inf)),
    ("share_special", "", "share on special tokens", (0, 1)),
    ("share_near", "", "share on the residue itself and its neighbours", (0, 1)),
    ("share_contacts", "", "share on contacts", (0, 1)),
    ("contacts_over_chance", "", "share on contacts over the share of pairs that are contacts", (0, math.inf)),
    ("contacts_over_distance", "", "share on contacts over what distance in the chain explains", (0, math.inf)),
)


@dataclass(frozen=True, kw_only=True)
class Attention(HeadMetric):
    """Describe the attention ``p[i, j]`` of every residue i to every token j; means over the residues of a sequence.

    ``attention_entropy`` is ``-sum_j p log p`` over the tokens that the residue may attend to, ``relative_entropy`` it
    divided by the logarithm of their number. ``share_special`` is what falls on tokens that are no residues (sinks).
    Distance and neighbours are among residues, whose attention is made to add up to 1: ``attention_distance`` is
    ``sum_j p |i - j|``, ``share_near`` what falls on residues up to ``near`` away, itself included.

    With structures (``dataset=structures``), ``share_contacts`` is the part that falls on contacts of all attention
    between residues ``separation`` or more apart: pairs whose CB, placed from N, CA and C, are closer than ``cutoff``.
    ``contacts_over_chance`` divides it by the share of those pairs that are contacts, ``contacts_over_distance`` by
    what there would be if attention at each distance in the chain were spread evenly: 1 is what distance explains.
    Pairs with a residue that is not resolved do not count. Without structures these three are undefined.

    Attributes:
        near: residues on either side that count as neighbours.
        separation: least distance in the chain of a pair that can be a contact, counted in resolved residues.
        cutoff: distance below which residues are in contact, in Angstrom.
    """

    name: ClassVar[str] = "attention"
    reads_backbones: ClassVar[bool] = True
    per_head: ClassVar[tuple[Quantity, ...]] = tuple(
        Quantity("attention", name, unit, label, bounds=bounds) for name, unit, label, bounds in _QUANTITIES
    )
    near: int = 1
    separation: int = 6
    cutoff: float = 8.0

    def __post_init__(self) -> None:
        if self.near < 0:
            raise InputError(f"metric.near={self.near}: 0 residues or more on either side")
        if self.separation < 1:
            raise InputError(f"metric.separation={self.separation}: a contact is between residues 1 or more apart")
        if self.cutoff <= 0:
            raise InputError(f"metric.cutoff={self.cutoff}: a distance above 0 Angstrom")

    def read_layer(self, stack: LayerStack, scores: AttentionScores, row: int, example: Example) -> Tensor:
        """Return the quantities of every head for one sequence, ``[quantity, head]``."""
        kept: list[int] = example.tokens.residues[row].nonzero()[:, 0].tolist()
        probabilities = scores.probabilities[row][:, kept].double()
        among_residues = probabilities[:, :, kept]
        mass = among_residues.sum(-1)
        shares = torch.where(mass[..., None] > 0, among_residues / mass[..., None], torch.nan)
        distance = _distances(len(kept), mass.device)
        entropy = torch.special.entr(probabilities).sum(-1)
        # Equal in all heads: masks are.
        most = scores.logits[row, 0][kept].isneginf().logical_not().sum(-1).double().log()
        undefined = torch.full_like(mass[:, 0], torch.nan)
        contacts = [undefined] * 3
        backbone = example.backbones[row] if example.backbones and stack.spelling.unit == "residue" else None
        if backbone is not None and len(backbone) == len(kept):
            order = stack.spelling.tokens_of_residues(example.tokens, row).argsort().cpu()
            beta = placed_beta(torch.tensor(backbone)[order].double()).to(mass.device)
            contacts = contact_shares(among_residues, beta, self.separation, self.cutoff)
        return torch.stack(
            [
                entropy.mean(-1),
                torch.where(most > 0, entropy / most, torch.nan).nanmean(-1).clamp(max=1),
                (shares * distance).sum(-1).nanmean(-1),
                (1 - mass).clamp(min=0).mean(-1),
                shares.masked_fill(distance > self.near, 0.0).sum(-1).nanmean(-1).clamp(max=1),
                *contacts,
            ]
        )

    def values_of(self, layers: Sequence[Tensor]) -> Tensor:
        """Return the values of all layers."""
        return torch.stack(list(layers), dim=-1)


def contact_shares(attention: Tensor, beta: Tensor, separation: int, cutoff: float) -> list[Tensor]:
    """Return the share of attention on contacts, and that over chance and over what distance explains, each ``[head]``.

    Args:
        attention: among residues, ``[head, residue, residue]``.
        beta: where residues are, in Angstrom, ``[residue, 3]``; NaN where that is not known.
        separation: least distance in the chain of a pair.
        cutoff: distance below which a pair is a contact.
    """
    n = len(beta)
    apart = _distances(n, beta.device)
    between = torch.linalg.vector_norm(beta[:, None] - beta, dim=-1)
    pairs = ~between.isnan() & (apart >= separation)
    contact = pairs & (between < cutoff)
    at = apart.flatten()
    n_pairs, n_contacts = (torch.bincount(at, mask.flatten().double(), minlength=n) for mask in (pairs, contact))
    expected = (n_contacts / n_pairs).nan_to_num(nan=0.0)[apart]
    kept = attention * pairs
    total = kept.sum((-1, -2))
    share = torch.where(total > 0, (kept * contact).sum((-1, -2)) / total, torch.nan)
    by_distance = (kept * expected).sum((-1, -2)) / total
    return [share, share / (n_contacts.sum() / n_pairs.sum()), share / by_distance]


def placed_beta(backbone: Tensor) -> Tensor:
    """Return where CB stands by the usual geometry of N, CA and C, in Angstrom.

    Args:
        backbone: N, CA and C, ``[residue, 3, 3]``; NaN where unknown.

    Returns:
        ``[residue, 3]``, also for glycine, which has none.
    """
    nitrogen, alpha, carbon = backbone.unbind(1)
    first, second = alpha - nitrogen, carbon - alpha
    normal = torch.linalg.cross(first, second)
    return alpha - 0.58273431 * normal + 0.56802827 * first - 0.54067466 * second


def _distances(n: int, device: torch.device) -> Tensor:
    number = torch.arange(n, device=device)
    return (number[:, None] - number).abs()
