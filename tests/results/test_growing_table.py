"""A table that grows, as text and as a parquet file."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plmdepth.results.growing_table import GrowingTable

COLUMNS = pa.schema([("id", pa.string()), ("labels", pa.list_(pa.string())), ("n", pa.int64())])
ROWS = [("a", ["x", "y"], 1), ("b, with a comma", [], 2)]


def test_rows_are_written_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with GrowingTable(path, COLUMNS) as table:
        for row in ROWS:
            table.add([row])
        table.add([])
    file = pq.ParquetFile(path)
    assert file.num_row_groups == 2
    assert file.schema_arrow.equals(COLUMNS)
    assert [tuple(row.values()) for row in file.read().to_pylist()] == ROWS


def test_lists_are_joined_in_a_csv(tmp_path: Path) -> None:
    with GrowingTable(tmp_path / "t.csv", COLUMNS) as table:
        table.add(ROWS)
    assert (tmp_path / "t.csv").read_text() == 'id,labels,n\na,x;y,1\n"b, with a comma",,2\n'


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_without_rows_has_its_columns(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t{ending}"
    with GrowingTable(path, COLUMNS):
        pass
    names = pq.read_schema(path).names if ending == ".parquet" else path.read_text().strip().split(",")
    assert names == COLUMNS.names
