"""What the scores refuse: anything but probabilities and the labels that fit them."""

import torch
from torch import Tensor

NOT_SCORED = -1
"""The label of a protein or residue that does not count."""


def checked_probabilities(probabilities: Tensor) -> Tensor:
    """Return probabilities ``[layer, item, class]`` in single precision.

    Raises:
        ValueError: the shape is another, or a value is not finite or outside [0, 1] (a logit, most likely).
    """
    if probabilities.ndim != 3:
        raise ValueError(f"probabilities must be [layer, item, class], got {tuple(probabilities.shape)}")
    if probabilities.numel() and not _within_unit_interval(probabilities):
        kind = "outside [0, 1]; give probabilities, not logits" if probabilities.isfinite().all() else "not finite"
        raise ValueError(f"some probabilities are {kind}")
    return probabilities.float().contiguous()


def checked_targets(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Return multi-label targets ``[protein, term]`` as booleans.

    Raises:
        ValueError: the shape does not fit, or a target is neither 0 nor 1.
    """
    if targets.shape != probabilities.shape[1:]:
        raise ValueError(f"targets {tuple(targets.shape)} do not fit probabilities {tuple(probabilities.shape)}")
    if targets.dtype is not torch.bool and not ((targets == 0) | (targets == 1)).all():
        raise ValueError("multi-label targets must be 0 or 1")
    return targets.bool()


def checked_labels(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return class labels ``[item]`` as integers; `NOT_SCORED` stays.

    Raises:
        ValueError: the shape does not fit, or a label is no integer between -1 and the number of classes less one.
    """
    if labels.shape != probabilities.shape[1:2]:
        raise ValueError(f"labels {tuple(labels.shape)} do not fit probabilities {tuple(probabilities.shape)}")
    if labels.is_floating_point() or not ((labels >= NOT_SCORED) & (labels < probabilities.shape[2])).all():
        raise ValueError(f"labels must be integers from {NOT_SCORED} (not scored) to {probabilities.shape[2] - 1}")
    return labels.long()


def checked_finite(name: str, values: Tensor) -> Tensor:
    """Return values in double precision.

    Raises:
        ValueError: a value is not finite.
    """
    if not values.isfinite().all():
        raise ValueError(f"some values of {name} are not finite")
    return values.double()


def _within_unit_interval(values: Tensor) -> bool:
    low, high = values.aminmax()  # NaN where any value is, and no comparison with it holds
    return bool(low >= 0 and high <= 1)
