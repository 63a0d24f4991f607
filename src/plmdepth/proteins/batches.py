"""Batches that hold a budget of tokens rather than a number of proteins."""

from collections.abc import Sequence


def token_budget_batches(lengths: Sequence[int], budget: int, extra: int = 2) -> list[list[int]]:
    """Group sequences of like length so that every padded batch holds at most ``budget`` tokens.

    The longest come first: a batch that does not fit into memory shows in the first seconds.

    Args:
        lengths: residues of every sequence.
        budget: most tokens a batch, padding included; a longer sequence has a batch of its own.
        extra: special tokens a sequence.

    Returns:
        Indices into ``lengths``, batch by batch.

    >>> token_budget_batches([10, 30, 12], budget=32)
    [[1], [2, 0]]
    """
    batches: list[list[int]] = []
    width = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * width <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
            width = lengths[index] + extra
    return batches
