"""``sequences.parquet``: one row a sequence, written as the run goes so that it never lies in memory whole."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from plmdepth.proteins.protein import Protein, Skipped
from plmdepth.results.collectives import contents, n_processes
from plmdepth.results.processes import is_first
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


def merge_shares(path: Path, n_skipped: int, batch_sizes: Sequence[int]) -> None:
    """Put the tables of several processes together, as one process would have written them.

    All processes must come here; the first one's file becomes the whole table.

    Args:
        path: this process's table: what was skipped, then its share of the batches.
        n_skipped: how many sequences were skipped.
        batch_sizes: how many sequences each batch holds.
    """
    if n_processes() == 1:
        return
    parts = contents(path)
    if is_first():
        tables = [pq.read_table(pa.BufferReader(part)) for part in parts]
        pq.write_table(interleaved(tables, n_skipped, batch_sizes), path, row_group_size=_ROW_GROUP)


def interleaved(parts: Sequence[pa.Table], n_skipped: int, batch_sizes: Sequence[int]) -> pa.Table:
    """Return the rows of n tables in the order of the batches: batch b lies in table b modulo n.

    Args:
        parts: the tables, each with all skipped sequences first.
        n_skipped: how many those are.
        batch_sizes: rows of each batch.
    """
    rows, starts = [parts[0].slice(0, n_skipped)], [n_skipped] * len(parts)
    for batch, size in enumerate(batch_sizes):
        part = batch % len(parts)
        rows.append(parts[part].slice(starts[part], size))
        starts[part] += size
    return pa.concat_tables(rows)
