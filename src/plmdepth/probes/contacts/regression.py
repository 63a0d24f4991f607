"""Sparse logistic regressions: of contacts on attention heads, and of contacts on the separation alone."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from plmdepth.probes.contacts.recipe import LEAST_SEPARATION

_MOST_ITERATIONS = 1000


@dataclass(frozen=True)
class Regression:
    """A fitted regression: ``logit = weight . features + bias``.

    Attributes:
        weight: ``[feature]``, double precision.
        bias: the intercept.
        converged: whether the fit came to its end.
    """

    weight: NDArray[np.float64]
    bias: float
    converged: bool


@dataclass(frozen=True)
class SeparationRegression:
    """The regression that knows nothing of a pair but its separation: one indicator for each.

    Attributes:
        regression: the weight of every separation from 6 on, up to the largest in training.
    """

    regression: Regression

    def logits(self, separation: Tensor) -> Tensor:
        """Return the logit of every pair, ``[pair]``; separations beyond all of training have the weight 0."""
        weight = torch.from_numpy(np.append(self.regression.weight, 0.0)).to(separation.device)
        index = (separation - LEAST_SEPARATION).clamp(0, len(weight) - 1)
        return weight[index] + self.regression.bias


@dataclass(frozen=True)
class LayerRegressions:
    """The regressions of all layers.

    Attributes:
        weight: ``[layer, layer read, head]``, both layers 1..L; 0 for layers that a regression does not read.
        bias: ``[layer]``.
        separation: the baseline.
        unconverged: layers whose fit did not come to its end, 0 for the baseline.
    """

    weight: Tensor
    bias: Tensor
    separation: SeparationRegression
    unconverged: tuple[int, ...]

    @property
    def weightless(self) -> tuple[int, ...]:
        """Layers whose regression gives no head a weight: the penalty outweighs what they say; they rank nothing."""
        return tuple(layer for layer, weight in enumerate(self.weight, start=1) if not weight.any())

    def write(self, path: Path) -> None:
        """Write ``weight`` and ``bias`` of the layers, and ``separation_weight`` and ``separation_bias``."""
        alone = self.separation.regression
        tensors = {
            "weight": self.weight,
            "bias": self.bias,
            "separation_weight": torch.from_numpy(alone.weight),
            "separation_bias": torch.tensor([alone.bias], dtype=torch.float64),
        }
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def fitted(
    features: NDArray[np.floating],
    contact: NDArray[np.bool_],
    inverse_regularisation: float,
    seed: int,
    counts: NDArray[np.int64] | None = None,
) -> Regression:
    """Fit a logistic regression with an L1 penalty, by liblinear; the intercept is penalised as any weight.

    Args:
        features: ``[pair, feature]``.
        contact: what is predicted, ``[pair]``.
        inverse_regularisation: C.
        seed: of the order of coordinates.
        counts: how often each row counts, ``[pair]``; None for once.
    """
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 (seconds, for one probe)
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    model = LogisticRegression(
        l1_ratio=1.0, C=inverse_regularisation, solver="liblinear", random_state=seed, max_iter=_MOST_ITERATIONS
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is in the record
        model.fit(features, contact, sample_weight=counts)
    return Regression(
        model.coef_[0].astype(np.float64), float(model.intercept_[0]), model.n_iter_[0] < _MOST_ITERATIONS
    )


def fitted_to_separation(
    separation: NDArray[np.int64], contact: NDArray[np.bool_], inverse_regularisation: float, seed: int
) -> SeparationRegression:
    """Fit the baseline: pairs of one separation are one row, with a contact or without, that counts as often."""
    index = separation - LEAST_SEPARATION
    n = int(index.max()) + 1
    counts = np.stack([np.bincount(index[contact == touching], minlength=n) for touching in (False, True)])
    rows = np.concatenate([np.eye(n), np.eye(n)])
    touching = np.repeat([False, True], n)
    return SeparationRegression(fitted(rows, touching, inverse_regularisation, seed, counts.reshape(-1)))
