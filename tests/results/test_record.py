import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from plmdepth.errors import InputError
from plmdepth.results.record import CURVE_COLUMNS, SEQUENCE_COLUMNS, is_finished, read_record

POINT = {
    "model": "esm2_8m",
    "family": "esm2",
    "parameters": 7_512_474,
    "n_layers": 6,
    "objective": "masked",
    "dataset": "demo",
    "metric": "residual",
    "quantity": "cosine",
    "component": "mlp",
    "scope": "",
    "layer": 3,
    "depth": 0.5,
    "value": 0.25,
    "ci_low": 0.125,
    "ci_high": 0.375,
    "n": 10,
    "unit": "cosine",
}


def _status(folder: Path, **content: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "status.json").write_text(json.dumps({"started": "", "ended": "", "error": None} | content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "3f2a"
    _status(folder, state="done", schema=1)
    undefined = POINT | {"layer": 0, "depth": 0.0, "value": None, "ci_low": None, "ci_high": None, "n": 0}
    pq.write_table(pa.Table.from_pylist([undefined, POINT], schema=CURVE_COLUMNS), folder / "curves.parquet")
    (folder / "result.json").write_text('{"scalars": {"ed_kl": 4.0}}')
    (folder / "config.yaml").write_text("seed: 0\n")
    return folder


def test_curves_have_the_columns_of_the_record_in_their_order() -> None:
    assert CURVE_COLUMNS.names == list(POINT)


def test_sequences_have_one_column_for_each_fact() -> None:
    assert SEQUENCE_COLUMNS.names == ["id", "length", "sha256", "target_positions", "cross_entropy", "skipped"]


def test_a_finished_record_is_read_whole(folder: Path) -> None:
    record = read_record(folder)
    assert record.folder == folder
    assert record.result == {"scalars": {"ed_kl": 4.0}}
    assert record.config == "seed: 0\n"
    assert record.curves.iloc[1].to_dict() == POINT


def test_an_undefined_value_is_nan_in_the_frame(folder: Path) -> None:
    undefined, value = read_record(folder).curves["value"]
    assert math.isnan(undefined)
    assert value == 0.25


def test_a_record_without_matrices_has_none(folder: Path) -> None:
    assert read_record(folder).matrices == {}


def test_matrices_keep_their_rows_and_columns(folder: Path) -> None:
    effect = np.array([[0.0, 1.0], [2.0, 3.0]], dtype=np.float32)
    save_file({"effect/layer": effect}, folder / "matrices.safetensors")
    matrices = read_record(folder).matrices
    assert list(matrices) == ["effect/layer"]
    assert matrices["effect/layer"].tolist() == [[0.0, 1.0], [2.0, 3.0]]


@pytest.mark.parametrize(
    "status",
    [
        {"state": "running", "schema": 1},
        {"state": "failed", "schema": 1},
        {"state": "done", "schema": 2},
        {"state": "done"},
        {"schema": 1},
    ],
)
def test_an_unfinished_record_or_one_of_another_schema_is_refused(folder: Path, status: dict[str, Any]) -> None:
    assert is_finished(folder)
    _status(folder, **status)
    assert not is_finished(folder)
    with pytest.raises(InputError, match=r"3f2a holds no finished record"):
        read_record(folder)


def test_a_folder_without_a_status_is_refused(folder: Path) -> None:
    (folder / "status.json").unlink()
    assert not is_finished(folder)
    with pytest.raises(InputError, match="no finished record"):
        read_record(folder)


def test_a_damaged_status_is_refused(folder: Path) -> None:
    (folder / "status.json").write_text('{"state": "done", "sche')
    assert not is_finished(folder)
    with pytest.raises(InputError, match="no finished record"):
        read_record(folder)


def test_a_folder_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent holds no finished record"):
        read_record(tmp_path / "absent")


@pytest.mark.parametrize("lost", ["result.json", "curves.parquet", "config.yaml"])
def test_a_record_that_lost_a_file_is_refused(folder: Path, lost: str) -> None:
    (folder / lost).unlink()
    with pytest.raises(InputError, match=r"3f2a"):
        read_record(folder)
