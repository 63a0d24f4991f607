"""``metric=effective_depth``: what the records of other measurements say about depth, put together without a model."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from plmdepth.errors import InputError
from plmdepth.report.depth_figure import write_depth_figure
from plmdepth.results.atomic import write_json
from plmdepth.results.cell_folder import writing_cell
from plmdepth.results.identity import SCHEMA, Identity
from plmdepth.results.provenance import environment
from plmdepth.results.record import CURVE_COLUMNS, Record

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


def depth_identity(name: str, parts: Mapping[str, Identity]) -> Identity:
    """Return the identity that follows from the identities of the parts: their ids, and what they have in common."""
    first = next(iter(parts.values()))
    shared = {
        key: fact for key, fact in first.facts.items() if all(part.facts.get(key) == fact for part in parts.values())
    }
    ids = {part: {"id": identity.id, **identity.facts.get("metric", {})} for part, identity in parts.items()}
    return replace(first, measurement=name, facts=shared | {"metric": {"is": EffectiveDepth.__name__, "parts": ids}})


def write_effective_depth(identity: Identity, parts: Mapping[str, Record], folder: Path, config: str) -> None:
    """Write the record of the depths that the records of the parts hold.

    Raises:
        InputError: no part has an effective depth, or two have the same.
    """
    names = {part: _definitions(record) for part, record in parts.items()}
    _check(names)
    with writing_cell(folder, config) as staging:
        curves = pd.concat([_curves(parts[part], names[part]) for part in parts], ignore_index=True)
        pq.write_table(pa.Table.from_pandas(curves, CURVE_COLUMNS, preserve_index=False), staging / "curves.parquet")
        matrices = {name: matrix for part in parts for name, matrix in _matrices(parts[part], names[part]).items()}
        if matrices:
            save_file(matrices, staging / "matrices.safetensors")
        first = next(iter(parts.values()))
        shutil.copyfile(first.folder / "sequences.parquet", staging / "sequences.parquet")  # the same in every part
        found = {kind: _merged(parts, kind) for kind in ("scalars", "scalar_intervals")}
        quantities = {name: each for part in parts.values() for name, each in part.result.get("quantities", {}).items()}
        write_depth_figure(found["scalars"], found["scalar_intervals"], curves, staging / "figures", quantities)
        result = {
            "schema": SCHEMA,
            "identity": {"id": folder.name, **identity.facts},
            **found,
            "quantities": quantities,
            "sources": {part: record.folder.name for part, record in parts.items()},
            "provenance": _provenance(list(parts.values())),
        }
        write_json(staging / "result.json", result)


def _definitions(record: Record) -> list[str]:
    return [name for name in record.result["scalars"] if name.startswith(_PREFIX) and not name.endswith("_depth")]


def _check(names: Mapping[str, Sequence[str]]) -> None:
    owners: dict[str, str] = {}
    for part, definitions in names.items():
        for name in definitions:
            if name in owners:
                raise InputError(f"metric.parts: both {owners[name]} and {part} measure {name}; leave one of them out")
            owners[name] = part
    if not owners:
        raise InputError(f"metric.parts: none of {', '.join(names)} measures an effective depth as it is configured")


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


def _provenance(parts: Sequence[Record]) -> dict[str, Any]:
    """Return where the numbers come from: the first part's data, which are every part's, and the time of all."""
    each = [part.result["provenance"] for part in parts]
    seconds = round(sum(provenance["wall_seconds"] for provenance in each), 3)
    return {**each[0], **environment(), "wall_seconds": seconds}
