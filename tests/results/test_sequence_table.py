import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plmdepth.proteins.protein import Protein, Skipped
from plmdepth.results.sequence_table import SequenceTable


def _skipped(count: int) -> list[Skipped]:
    return [Skipped(f"s{index}", index, "empty sequence") for index in range(count)]


def _row_groups(path: Path) -> list[int]:
    metadata = pq.ParquetFile(path).metadata
    return [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]


def test_a_measured_sequence_is_a_row_of_its_facts(tmp_path: Path) -> None:
    path = tmp_path / "sequences.parquet"
    with SequenceTable(path) as table:
        table.add_measured([Protein("p1", "MKTV"), Protein("p2", "AC")], [(0, 3), ()], [1.5, None])
    assert pq.read_table(path).to_pylist() == [
        {
            "id": "p1",
            "length": 4,
            "sha256": hashlib.sha256(b"MKTV").hexdigest(),
            "target_positions": [0, 3],
            "cross_entropy": 1.5,
            "skipped": "",
        },
        {
            "id": "p2",
            "length": 2,
            "sha256": hashlib.sha256(b"AC").hexdigest(),
            "target_positions": [],
            "cross_entropy": None,
            "skipped": "",
        },
    ]


def test_a_skipped_sequence_is_a_row_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "sequences.parquet"
    with SequenceTable(path) as table:
        table.add_skipped([Skipped("long", 2000, "longer than 1022 residues (2000)")])
    assert pq.read_table(path).to_pylist() == [
        {
            "id": "long",
            "length": 2000,
            "sha256": "",
            "target_positions": [],
            "cross_entropy": None,
            "skipped": "longer than 1022 residues (2000)",
        }
    ]


def test_rows_keep_the_order_in_which_they_were_added(tmp_path: Path) -> None:
    path = tmp_path / "sequences.parquet"
    with SequenceTable(path) as table:
        table.add_skipped(_skipped(1))
        table.add_measured([Protein("p1", "A")], [[0]], [0.5])
        table.add_measured([Protein("p0", "C")], [[0]], [0.5])
    assert pq.read_table(path)["id"].to_pylist() == ["s0", "p1", "p0"]


def test_columns_and_types_are_those_of_the_record(tmp_path: Path) -> None:
    path = tmp_path / "sequences.parquet"
    with SequenceTable(path) as table:
        table.add_skipped(_skipped(1))
    assert [(field.name, str(field.type)) for field in pq.read_schema(path)] == [
        ("id", "string"),
        ("length", "int64"),
        ("sha256", "string"),
        ("target_positions", "list<element: int64>"),
        ("cross_entropy", "double"),
        ("skipped", "string"),
    ]


def test_a_table_without_rows_still_has_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "sequences.parquet"
    with SequenceTable(path):
        pass
    assert pq.read_table(path).num_rows == 0
    assert pq.read_schema(path).field("length").type == pa.int64()


@pytest.mark.parametrize(("rows", "groups"), [(999, [999]), (1000, [1000]), (2500, [1000, 1000, 500])])
def test_rows_are_written_a_thousand_at_a_time(tmp_path: Path, rows: int, groups: list[int]) -> None:
    path = tmp_path / "sequences.parquet"
    with SequenceTable(path) as table:
        table.add_skipped(_skipped(rows))
    assert _row_groups(path) == groups
    assert pq.read_table(path)["length"].to_pylist() == list(range(rows))


def test_a_thousand_rows_are_on_disk_before_the_table_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "sequences.parquet"
    with SequenceTable(path) as table:
        table.add_skipped(_skipped(999))
        before = path.stat().st_size
        table.add_skipped(_skipped(1))
        assert path.stat().st_size > before + 1000


def _die(path: Path, rows: int) -> None:
    with SequenceTable(path) as table:
        table.add_skipped(_skipped(rows))
        raise ValueError("boom")


def test_an_exception_goes_on_and_the_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "sequences.parquet"
    with pytest.raises(ValueError, match="boom"):
        _die(path, 1500)
    assert _row_groups(path) == [1000]


def test_values_for_fewer_sequences_than_given_are_refused(tmp_path: Path) -> None:
    with SequenceTable(tmp_path / "sequences.parquet") as table, pytest.raises(ValueError, match="shorter"):
        table.add_measured([Protein("p1", "A"), Protein("p2", "C")], [[0], [0]], [0.5])
