"""What a record says of its quantities: how their curves and matrices are labelled, grouped and scaled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

Quantities = Mapping[str, Mapping[str, Any]]
"""``quantities`` of a result, by metric; empty in records that were written before it was there."""


@dataclass(frozen=True)
class Shown:
    """How one curve is shown.

    Attributes:
        label: what it is, without its unit.
        panel: the panel in which it is drawn, by the label of its value axis, with the unit.
        low: the least possible value, None where there is none.
        high: the greatest possible value.
        scale: of the value axis: ``linear``, ``log`` or ``symlog``.
        heading: of its column in a table; empty for a curve that is not in it.
    """

    label: str
    panel: str
    low: float | None = None
    high: float | None = None
    scale: str = "linear"
    heading: str = ""

    @property
    def bounded(self) -> bool:
        """Whether values lie between two ends, a share or a cosine."""
        return self.low is not None and self.high is not None


def shown(quantities: Quantities, rows: pd.DataFrame) -> dict[tuple[str, str], Shown]:
    """Return how the curves of one metric are shown, by quantity and component, in the order of the table.

    Args:
        quantities: what the record says of them; a curve of which it says nothing is shown by its name.
        rows: the curves of the metric.
    """
    known = {}
    for each in quantities.get(str(rows["metric"].iloc[0]), {}).get("curves", ()):
        panel = each["panel"].replace("residue", "token") if _per_token(rows) else each["panel"]
        key = each["name"], each["component"]
        low, high = each["bounds"]
        known[key] = Shown(each["label"], panel, low, high, each["scale"], each["heading"])
    units = rows.drop_duplicates(["quantity", "component"])
    keys = zip(units["quantity"], units["component"], units["unit"], strict=True)
    return {(name, part): known.get((name, part)) or _plain(name, unit) for name, part, unit in keys}


def title_of(quantities: Quantities, metric: str) -> str:
    """Return what the figure of a metric says on top."""
    return str(quantities.get(metric, {}).get("title") or metric.replace("_", " ").capitalize())


def meaningless(quantities: Quantities) -> dict[str, str]:
    """Return the scalars that mean nothing for the model, each with the reason."""
    return {name: why for each in quantities.values() for name, why in each.get("meaningless", {}).items()}


def matrix_of(quantities: Quantities, key: str) -> Mapping[str, Any]:
    """Return what the record says of the matrix ``<quantity>/<component>``; empty where it says nothing."""
    all_matrices = (matrix for each in quantities.values() for matrix in each.get("matrices", ()))
    return next((matrix for matrix in all_matrices if f"{matrix['name']}/{matrix['component']}" == key), {})


def _per_token(rows: pd.DataFrame) -> bool:
    return bool(rows["unit"].str.endswith("/token").any())


def _plain(name: str, unit: str) -> Shown:
    label = name.replace("_", " ")
    return Shown(label, f"{label} ({unit})" if unit else label)
