"""Means over the residues of each sequence: the first of the two averages behind every value."""

import torch
from torch import Tensor


def segment_mean(values: Tensor, segment: Tensor, n_segments: int) -> Tensor:
    """Return the mean of the values of each segment; NaN where a segment has none.

    Args:
        values: ``[..., residue]``.
        segment: the sequence to which each residue belongs, ``[residue]``.
        n_segments: number of sequences.

    Returns:
        ``[..., sequence]``, double precision.

    >>> segment_mean(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 2]), 3).tolist()
    [2.0, nan, 5.0]
    """
    total = values.new_zeros((*values.shape[:-1], n_segments), dtype=torch.float64)
    total.index_add_(-1, segment, values.double())
    return total / torch.bincount(segment, minlength=n_segments)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the tokens where the mask is true; NaN where there is none.

    Args:
        values: ``[..., token]``; ignored where the mask is false, whatever they hold.
        mask: ``[..., token]``, broadcast against the values.

    Returns:
        ``[...]``, double precision.
    """
    kept = torch.where(mask, values.double(), 0.0)
    return kept.sum(-1) / mask.expand_as(values).sum(-1)
