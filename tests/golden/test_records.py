"""Every kind of cell leaves the record that it left before: the same id, and the same numbers."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from plmdepth.results.record import Record
from tests.golden.make_records import CELLS, COLUMNS, KEPT, records

TRAINED = ("tuned_lens", "mlp", "contact", "early_exit")  # steps carry the rounding of one processor on to the next


@pytest.fixture(scope="module")
def found() -> dict[str, Record]:
    return dict(records())


def _tolerance(cell: str) -> dict[str, float]:
    return {"rtol": 1e-3, "atol": 1e-4} if cell in TRAINED else {"rtol": 1e-6, "atol": 1e-7}


@pytest.mark.parametrize("cell", CELLS)
def test_the_id_is_the_same(cell: str, found: dict[str, Record]) -> None:
    kept = json.loads((KEPT / "results.json").read_text())[cell]
    assert (found[cell].folder.name, found[cell].result["identity"]["id"]) == (kept["id"], kept["id"])


@pytest.mark.parametrize("cell", CELLS)
def test_the_numbers_are_the_same(cell: str, found: dict[str, Record]) -> None:
    kept = pd.read_parquet(KEPT / "curves.parquet").query("cell == @cell")[COLUMNS].reset_index(drop=True)
    pd.testing.assert_frame_equal(found[cell].curves[COLUMNS].reset_index(drop=True), kept, **_tolerance(cell))
    matrices = {
        key.partition(":")[2]: matrix
        for key, matrix in load_file(KEPT / "matrices.safetensors").items()
        if key.startswith(f"{cell}:")
    }
    assert found[cell].matrices.keys() == matrices.keys()
    for key, matrix in matrices.items():
        np.testing.assert_allclose(found[cell].matrices[key], matrix, **_tolerance(cell))


@pytest.mark.parametrize("cell", CELLS)
def test_the_scalars_are_the_same(cell: str, found: dict[str, Record]) -> None:
    kept, now = (
        _timeless(each) for each in (json.loads((KEPT / "results.json").read_text())[cell], found[cell].result)
    )
    assert now.keys() == kept.keys()
    numbers = [[np.nan if each[name] is None else each[name] for name in kept] for each in (now, kept)]
    np.testing.assert_allclose(*numbers, **_tolerance(cell))


def _timeless(result: Any) -> dict[str, Any]:
    return {name: value for name, value in result["scalars"].items() if not name.startswith("time_")}
