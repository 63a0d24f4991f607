"""The record of a finished cell: its tables, their columns and the one reader."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from plmdepth.errors import InputError
from plmdepth.results.atomic import read_json
from plmdepth.results.identity import SCHEMA

CURVE_COLUMNS = pa.schema(
    [
        *((name, pa.string()) for name in ("model", "family")),
        *((name, pa.int64()) for name in ("parameters", "n_layers")),
        *((name, pa.string()) for name in ("objective", "dataset", "metric", "quantity", "component", "scope")),
        ("layer", pa.int64()),
        *((name, pa.float64()) for name in ("depth", "value", "ci_low", "ci_high")),
        ("n", pa.int64()),
        ("unit", pa.string()),
    ]
)
"""One row a point. A value that is undefined is null."""

SEQUENCE_COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("length", pa.int64()),
        ("sha256", pa.string()),
        ("target_positions", pa.list_(pa.int64())),
        ("cross_entropy", pa.float64()),
        ("skipped", pa.string()),
    ]
)
"""One row a sequence: ``skipped`` is empty for one that was measured, else the reason. Positions count from 0."""


@dataclass(frozen=True)
class Record:
    """A finished cell.

    Attributes:
        folder: where it lies.
        result: identity, scalars with intervals, provenance.
        curves: the long table, `CURVE_COLUMNS`.
        matrices: ``<quantity>/<component>`` to ``[L, L]``; row = layer intervened on, column = layer measured.
        config: the resolved configuration as text.
    """

    folder: Path
    result: Mapping[str, Any]
    curves: pd.DataFrame
    config: str
    matrices: Mapping[str, Any] = field(default_factory=dict)


def is_finished(folder: Path) -> bool:
    """Say whether a folder holds a whole record of this schema."""
    status = read_json(folder / "status.json")
    return status is not None and status.get("state") == "done" and status.get("schema") == SCHEMA


def read_record(folder: Path) -> Record:
    """Read a finished cell.

    Raises:
        InputError: the folder holds no finished record.
    """
    result = read_json(folder / "result.json")
    if not is_finished(folder) or result is None:
        raise InputError(
            f"{folder} holds no finished record; run the cell again (force=true if it says that it was done before)"
        )
    matrices, curves = folder / "matrices.safetensors", folder / "curves.parquet"
    trained = (folder / "weights").is_dir()  # a trained model has no curves
    try:
        table = CURVE_COLUMNS.empty_table() if trained else pq.read_table(curves)
        return Record(
            folder=folder,
            result=result,
            curves=table.to_pandas(),
            config=(folder / "config.yaml").read_text(encoding="utf-8"),
            matrices=load_file(matrices) if matrices.exists() else {},
        )
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise InputError(f"the record in {folder} is damaged; force=true repeats the cell") from error
