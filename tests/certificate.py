"""The certificate of parity: how far a stack is from another implementation, layer by layer and at the logits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

TOLERANCE = 1e-5
Certify = Callable[[str, str, Sequence[Tensor], Sequence[Tensor], Tensor | None, Tensor | None], None]
"""Compares states, and logits where there are any; both sides are given where they count (no padding)."""


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        family: whose stack.
        oracle: what it was compared with.
        states: largest difference of each state, layer 0 first.
        logits: largest difference of the logits; None where only states were compared.
    """

    family: str
    oracle: str
    states: tuple[float, ...]
    logits: float | None


def compared(
    family: str,
    oracle: str,
    states: Sequence[Tensor],
    their_states: Sequence[Tensor],
    logits: Tensor | None,
    their_logits: Tensor | None,
) -> Row:
    """Return the largest differences."""
    pairs = zip(states, their_states, strict=True)
    apart = tuple(float((mine - theirs).abs().max()) for mine, theirs in pairs)
    at_logits = None if logits is None or their_logits is None else float((logits - their_logits).abs().max())
    return Row(family, oracle, apart, at_logits)


def table(rows: Sequence[Row]) -> list[str]:
    """Return the lines of the table that ``make parity`` prints."""
    lines = [f"{'family':24} {'oracle':44} {'layers':>6} {'states':>9} {'logits':>9}"]
    for row in sorted(rows, key=lambda each: (each.family, each.oracle)):
        logits = "" if row.logits is None else f"{row.logits:.1e}"
        worst = f"{max(row.states):.1e}" if row.states else ""
        lines.append(f"{row.family:24} {row.oracle:44} {max(len(row.states) - 1, 0):>6} {worst:>9} {logits:>9}")
    return lines
