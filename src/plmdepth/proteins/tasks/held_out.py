"""Holding out a part of a set whose publishers held out none."""

from collections.abc import Iterable

from plmdepth.proteins.tasks.raw import Entry, letters_of
from plmdepth.randomness import keyed_generator

VALID_SHARE = 0.1


def apportioned(entries: Iterable[Entry], shares: dict[str, float], purpose: str) -> dict[str, tuple[Entry, ...]]:
    """Give every entry to one of several splits, by its sequence alone.

    The seed of a run plays no part: runs that differ in their seed are scored on the same proteins.

    Args:
        entries: what is shared out.
        shares: the part of every split; they add up to 1.
        purpose: what is split, so that two sets are split independently.
    """
    parts: dict[str, list[Entry]] = {split: [] for split in shares}
    for entry in entries:
        point = keyed_generator(0, f"split/{purpose}", letters_of(entry.text)).random()
        parts[_split_at(point, shares)].append(entry)
    return {split: tuple(members) for split, members in parts.items()}


def _split_at(point: float, shares: dict[str, float]) -> str:
    end = 0.0
    for split, share in shares.items():
        end += share
        if point < end:
            return split
    return list(shares)[-1]  # the shares may add up to a little less than 1
