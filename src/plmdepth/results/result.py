"""What ``result.json`` holds, typed: the same in every kind of cell."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from plmdepth.results.collectives import n_processes
from plmdepth.results.identity import SCHEMA


class Interval(BaseModel):
    """A 95 % interval."""

    model_config = ConfigDict(frozen=True)

    low: float
    high: float


class Measured(BaseModel):
    """What a cell itself knows of where its numbers come from.

    Attributes:
        device: what the model ran on.
        processes: how many shared the cell.
        dtype: the model's precision.
        sequences_measured: how many sequences the numbers are of.
        sequences_fitted: how many something was fitted to, where they are others.
        residues_measured: their residues, where they are counted.
        sequences_skipped: how many were left out, by reason.
        letters_changed: what was changed in those that were kept, by kind.
        notes: what else a reader of the numbers should know, a sentence each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str
    processes: int = Field(default_factory=n_processes)
    dtype: str
    sequences_measured: int
    sequences_fitted: int | None = None
    residues_measured: int | None = None
    sequences_skipped: Mapping[str, int]
    letters_changed: Mapping[str, int]
    notes: Sequence[str] = ()


class Provenance(Measured):
    """Where the numbers of a record come from.

    Attributes:
        git_sha: the commit of the code, None outside a checkout.
        versions: of Python and the libraries.
        platform: the operating system.
        wall_seconds: how long the cell took, drawing and tracking not counted.
    """

    git_sha: str | None
    versions: Mapping[str, str]
    platform: str
    wall_seconds: float


class Result(BaseModel):
    """The content of ``result.json``; what a kind of cell adds of its own stands beside the fields.

    Attributes:
        schema_version: version of the record and of the numbers, ``schema`` in the file.
        identity: the cell's id and all that determines its numbers.
        scalars: single numbers by name; None where undefined, since JSON has no NaN.
        scalar_intervals: their intervals; None where there is none.
        provenance: where they come from.
    """

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    schema_version: int = Field(default=SCHEMA, alias="schema")
    identity: Mapping[str, Any]
    scalars: Mapping[str, float | int | None]
    scalar_intervals: Mapping[str, Interval | None]
    provenance: Provenance

    @field_validator("scalars", mode="before")
    @classmethod
    def _undefined(cls, scalars: Mapping[str, float | None]) -> dict[str, float | None]:
        return {name: value if _is_finite(value) else None for name, value in scalars.items()}

    @field_validator("scalar_intervals", mode="before")
    @classmethod
    def _open(cls, intervals: Mapping[str, Mapping[str, float] | None]) -> dict[str, Any]:
        return {
            name: ends if ends and all(map(_is_finite, ends.values())) else None for name, ends in intervals.items()
        }

    def content(self) -> dict[str, Any]:
        """Return what is written: no key for what a kind of cell does not count."""
        content = self.model_dump(by_alias=True)
        for name in ("sequences_fitted", "residues_measured"):
            if content["provenance"][name] is None:
                del content["provenance"][name]
        return content


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
