"""A table that is written as the run goes, so that it never lies in memory whole."""

import csv
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq

ENDINGS = (".csv", ".parquet")
_BETWEEN = ";"
"""What stands between the parts of a list in a CSV file."""


class _Rows(Protocol):
    """What writes rows to an open file."""

    def write(self, rows: Sequence[Sequence[Any]]) -> None: ...

    def close(self) -> None: ...


class GrowingTable:
    """A CSV or parquet file that grows.

    Args:
        path: the file; its ending decides which of the two it is. Lists are columns of a parquet file; in a CSV file
            their parts are joined by semicolons.
        schema: its columns.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._rows: _Rows = (_Parquet if path.suffix == ".parquet" else _Csv)(path, schema)

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows, each in the order of the columns; of a parquet file they become a row group."""
        if rows:
            self._rows.write(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rows.close()


class _Parquet:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema)

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        columns = [list(column) for column in zip(*rows, strict=True)]
        self._writer.write_table(
            pa.Table.from_arrays(
                [pa.array(c, f.type) for c, f in zip(columns, self._schema, strict=True)], schema=self._schema
            )
        )

    def close(self) -> None:
        self._writer.close()


class _Csv:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(schema.names)

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        self._writer.writerows([_cell(value) for value in row] for row in rows)

    def close(self) -> None:
        self._file.close()


def _cell(value: Any) -> Any:
    return _BETWEEN.join(map(str, value)) if isinstance(value, list | tuple) else value
