"""``metric=effective_depth``: what the records of other measurements say about depth, put together without a model."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from plmdepth.analysis.run import cell_of
from plmdepth.cells.cell import Cell, Findings, Part
from plmdepth.cells.context import RunContext
from plmdepth.errors import InputError
from plmdepth.results.identity import Identity
from plmdepth.results.record import CURVE_COLUMNS, Record, read_record
from plmdepth.results.result import Measured

_PREFIX = "ed_"


@dataclass(frozen=True)
class EffectiveDepth:
    """The measurements whose records are read.

    Attributes:
        parts: the measurements by the name of their option, under which each has a record of its own.
    """

    parts: Mapping[str, object]

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError("metric.parts is empty; name at least one measurement")
        for name, part in self.parts.items():
            if not hasattr(part, "measure"):
                raise InputError(f"metric.parts.{name} is not a measurement of its own")

    def cell(self, run: RunContext) -> "DepthCell":
        """Return the cell that reads the records of the parts; each part is a cell as if it had been asked for alone.

        Raises:
            InputError: something in the configuration is wrong.
        """
        cells = {name: Part(cell_of(part), part.config) for name, part in run.parts.items()}
        return DepthCell(run.option, cells, run.outputs)


@dataclass(frozen=True)
class _Reads:
    """What a definition reads; a skipped layer's change of the prediction stands beside its row of the matrix."""

    curves: tuple[tuple[str, str], ...]
    matrices: tuple[str, ...] = ()


_READS = {
    "ed_kl": _Reads((("kl_to_final", ""),)),
    "ed_overlap": _Reads((("top5_overlap", ""),)),
    "ed_cosine": _Reads((("cosine", "layer"),)),
    "ed_skip": _Reads((("output_effect", "layer"),), ("effect/layer",)),
}
"""By definition. All that its part has is kept for a definition that is not listed."""


@dataclass(frozen=True)
class DepthCell(Cell):
    """One cell: the effective depths that the records of other cells hold.

    Attributes:
        name: the metric's option name.
        cells: the cells of the parts, by name.
        outputs: the folder of all records.
    """

    shared: ClassVar[bool] = True
    name: str
    cells: Mapping[str, Part]
    outputs: Path

    @property
    def identity(self) -> Identity:
        """What follows from the identities of the parts."""
        return depth_identity(self.name, {name: part.cell.identity for name, part in self.cells.items()})

    @property
    def parts(self) -> Sequence[Part]:
        """The cells whose records are read."""
        return tuple(self.cells.values())

    @cached_property
    def records(self) -> Mapping[str, Record]:
        """The records of the parts, which are there."""
        return {name: read_record(part.cell.identity.folder(self.outputs)) for name, part in self.cells.items()}

    def check(self) -> None:
        """Refuse parts that do not make a whole.

        Raises:
            InputError: no part has an effective depth, or two have the same.
        """
        check_parts(self.records)

    def measure(self, staging: Path) -> Findings:
        """Put the records of the parts together."""
        return combine(self.records, staging)


def depth_identity(name: str, parts: Mapping[str, Identity]) -> Identity:
    """Return the identity that follows from the identities of the parts: their ids, and what they have in common."""
    first = next(iter(parts.values()))
    shared = {
        key: fact for key, fact in first.facts.items() if all(part.facts.get(key) == fact for part in parts.values())
    }
    ids = {part: {"id": identity.id, **identity.facts.get("metric", {})} for part, identity in parts.items()}
    return replace(first, measurement=name, facts=shared | {"metric": {"is": EffectiveDepth.__name__, "parts": ids}})


def check_parts(parts: Mapping[str, Record]) -> None:
    """Refuse records that do not make a whole.

    Raises:
        InputError: no part has an effective depth, or two have the same.
    """
    owners: dict[str, str] = {}
    for part, record in parts.items():
        for name in _definitions(record):
            if name in owners:
                raise InputError(f"metric.parts: both {owners[name]} and {part} measure {name}; leave one of them out")
            owners[name] = part
    if not owners:
        raise InputError(f"metric.parts: none of {', '.join(parts)} measures an effective depth as it is configured")


def combine(parts: Mapping[str, Record], staging: Path) -> Findings:
    """Write what the definitions read in the records of the parts, and return the depths."""
    names = {part: _definitions(record) for part, record in parts.items()}
    curves = pd.concat([_curves(parts[part], names[part]) for part in parts], ignore_index=True)
    pq.write_table(pa.Table.from_pandas(curves, CURVE_COLUMNS, preserve_index=False), staging / "curves.parquet")
    matrices = {name: matrix for part in parts for name, matrix in _matrices(parts[part], names[part]).items()}
    if matrices:
        save_file(matrices, staging / "matrices.safetensors")
    first = next(iter(parts.values()))
    shutil.copyfile(first.folder / "sequences.parquet", staging / "sequences.parquet")  # the same in every part
    # Where the numbers come from is the first part's, as the data are every part's.
    known = {key: value for key, value in first.result["provenance"].items() if key in Measured.model_fields}
    return Findings(
        scalars=_merged(parts, "scalars"),
        intervals=_merged(parts, "scalar_intervals"),
        measured=Measured(**known),
        sections={
            "sources": {part: record.folder.name for part, record in parts.items()},
            "quantities": {k: v for part in parts.values() for k, v in part.result.get("quantities", {}).items()},
        },
        seconds_before=sum(part.result["provenance"]["wall_seconds"] for part in parts.values()),
    )


def _definitions(record: Record) -> list[str]:
    return [name for name in record.result["scalars"] if name.startswith(_PREFIX) and not name.endswith("_depth")]


def _merged(parts: Mapping[str, Record], kind: str) -> dict[str, Any]:
    return {
        name: value
        for record in parts.values()
        for name, value in record.result[kind].items()
        if name.startswith(_PREFIX)
    }


def _curves(record: Record, definitions: Sequence[str]) -> pd.DataFrame:
    """Return the rows that the definitions read."""
    if not set(definitions) <= _READS.keys():
        return record.curves
    wanted = {key for name in definitions for key in _READS[name].curves}
    keys = zip(record.curves["quantity"], record.curves["component"], strict=True)
    return record.curves[[key in wanted for key in keys]]


def _matrices(record: Record, definitions: Sequence[str]) -> dict[str, Any]:
    if not set(definitions) <= _READS.keys():
        return dict(record.matrices)
    wanted = {key for name in definitions for key in _READS[name].matrices}
    return {name: matrix for name, matrix in record.matrices.items() if name in wanted}
