"""From an estimate to the rows and numbers of the record."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.accumulators import CONFIDENCE, Estimate
from plmdepth.metrics.metric import Metric
from plmdepth.metrics.quantity import Quantity
from plmdepth.results.record import CURVE_COLUMNS


@dataclass(frozen=True)
class CurveLabels:
    """The columns that are the same in every row of a cell's curves."""

    model: str
    family: str
    parameters: int
    n_layers: int
    objective: str
    dataset: str
    scope: str = ""

    @classmethod
    def of(cls, model: LanguageModel, stack: LayerStack, objective: str, dataset: str) -> Self:
        """Return the labels of a cell over all of its sequences."""
        return cls(model.name, model.family, stack.n_parameters, stack.n_layers, objective, dataset)


def curve_table(
    estimate: Estimate, quantities: Sequence[Quantity], labels: CurveLabels, token: str = "residue"
) -> pa.Table:
    """Return the long table of curves, one row a point.

    Args:
        estimate: the values.
        quantities: what they are, in their order.
        labels: the columns that are the same in every row.
        token: what one token of the model stands for; units are per that.
    """
    quantities = [replace(each, unit=each.unit.replace("/residue", f"/{token}")) for each in quantities]
    rows = [row for index, quantity in enumerate(quantities) for row in _rows(estimate, index, quantity, labels)]
    return pa.Table.from_pylist(rows, schema=CURVE_COLUMNS)


def _rows(estimate: Estimate, index: int, quantity: Quantity, labels: CurveLabels) -> list[dict[str, Any]]:
    same = {
        **asdict(labels),
        "metric": quantity.metric,
        "quantity": quantity.name,
        "component": quantity.component,
        "unit": quantity.unit,
    }
    return [
        {
            **same,
            "layer": layer,
            "depth": layer / labels.n_layers,
            "value": _finite(estimate.value[index, layer]),
            "ci_low": _finite(estimate.low[index, layer]),
            "ci_high": _finite(estimate.high[index, layer]),
            "n": int(estimate.n[index, layer]),
        }
        for layer in range(quantity.first_layer, labels.n_layers + 1)
    ]


def matrix_table(estimate: Estimate, matrices: Sequence[Quantity]) -> dict[str, np.ndarray]:
    """Return ``<quantity>/<component>`` to ``[L, L]``: row = layer intervened on, column = layer measured."""
    return {
        f"{matrix.name}/{matrix.component}": estimate.value[index].cpu().numpy()
        for index, matrix in enumerate(matrices)
    }


def scalar_table(
    curves: Estimate, matrices: Estimate | None, metric: Metric, n_layers: int, meaningless: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """Return ``scalars`` and ``scalar_intervals`` of the record; layers are given as a share of L too.

    Those that mean nothing for the model are null.
    """
    mean, draws = _by_name(curves.value, metric.quantities, 1), _by_name(curves.replicates, metric.quantities, 1)
    if matrices is not None:
        mean |= _by_name(matrices.value, metric.matrices, 2)
        draws |= _by_name(matrices.replicates, metric.matrices, 2)
    values, spread = metric.scalars(mean), metric.scalars(draws)
    scalars: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    for name, value in values.items():
        for key, scale in ((name, 1), (f"{name}_depth", n_layers)) if name.startswith("ed_") else ((name, 1),):
            scalars[key] = None if name in meaningless else _finite(value / scale)
            intervals[key] = _interval(spread[name] / scale) if scalars[key] is not None else None
    return {"scalars": scalars, "scalar_intervals": intervals}


def _by_name(tensor: Tensor, quantities: Sequence[Quantity], axes: int) -> dict[tuple[str, str], Tensor]:
    """Split ``[..., quantity, layer]`` (or ``[..., quantity, layer, layer]``, two axes) by (name, component)."""
    names = [(quantity.name, quantity.component) for quantity in quantities]
    return dict(zip(names, tensor.unbind(-1 - axes), strict=True))


def _interval(replicates: Tensor) -> Mapping[str, float | None] | None:
    tail = (1 - CONFIDENCE) / 2
    low, high = replicates.nanquantile(torch.tensor([tail, 1 - tail], dtype=replicates.dtype)).tolist()
    return {"low": low, "high": high} if math.isfinite(low) and math.isfinite(high) else None


def _finite(value: Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
