"""``sequences.parquet``: one row a sequence, written as the run goes so that it never lies in memory whole."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from plmdepth.proteins.protein import Protein, Skipped
from plmdepth.results.record import SEQUENCE_COLUMNS

_ROW_GROUP = 1000


class SequenceTable:
    """A parquet file that grows in row groups.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, SEQUENCE_COLUMNS)
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._writer.close()

    def add_measured(
        self, proteins: Sequence[Protein], targets: Sequence[Sequence[int]], cross_entropy: Sequence[float | None]
    ) -> None:
        """Add sequences that were measured.

        Args:
            proteins: the sequences.
            targets: 0-based target positions of each.
            cross_entropy: cross-entropy of each in nats per residue; None where it was not measured.
        """
        for protein, positions, loss in zip(proteins, targets, cross_entropy, strict=True):
            self._add(protein.id, len(protein), protein.sha256, sorted(positions), loss, "")

    def add_skipped(self, skipped: Sequence[Skipped]) -> None:
        """Add sequences that were not measured, with the reason."""
        for record in skipped:
            self._add(record.id, record.length, "", [], None, record.reason)

    def _add(self, *values: Any) -> None:
        self._rows.append(dict(zip(SEQUENCE_COLUMNS.names, values, strict=True)))
        if len(self._rows) >= _ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SEQUENCE_COLUMNS))
            self._rows.clear()
