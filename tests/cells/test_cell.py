"""The one way from a cell to its record."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from plmdepth.cells import cell as skeleton
from plmdepth.cells.cell import Cell, Findings, run_cell
from plmdepth.errors import InputError
from plmdepth.results.identity import Identity
from plmdepth.results.record import is_finished
from plmdepth.results.result import Measured

MEASURED = Measured(device="cpu", dtype="float32", sequences_measured=3, sequences_skipped={"x": 1}, letters_changed={})


@dataclass(frozen=True)
class Small(Cell):
    """A cell that says what it is told to."""

    findings: Findings | None
    error: BaseException | None = None
    refused: bool = False
    seen: list[bool] = field(default_factory=list)

    @property
    def identity(self) -> Identity:
        return Identity("analyze", "m", "d", "small", {"seed": 3})

    def check(self) -> None:
        if self.refused:
            raise InputError("no")

    def measure(self, staging: Path) -> Findings | None:
        self.seen.append((staging.parent / "result.json").exists())
        (staging / "curves.parquet").write_text("curves")
        if self.error is not None:
            raise self.error
        return self.findings


def result_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return content


def test_the_record_holds_what_was_found_and_where_it_comes_from(tmp_path: Path) -> None:
    found = Findings({"a": 1.5, "n": 6}, {"a": {"low": 1.0, "high": 2.0}, "n": None}, MEASURED, {"task": {"kind": "k"}})
    run_cell(Small(found), tmp_path / "cell", "seed: 3\n")
    result = result_of(tmp_path / "cell")
    provenance = result.pop("provenance")
    assert result == {
        "schema": 1,
        "identity": {"id": "cell", "seed": 3},
        "scalars": {"a": 1.5, "n": 6},
        "scalar_intervals": {"a": {"low": 1.0, "high": 2.0}, "n": None},
        "task": {"kind": "k"},
    }
    assert isinstance(result["scalars"]["n"], int)
    assert provenance["versions"]["torch"]
    same = {"device": "cpu", "dtype": "float32", "processes": 1, "sequences_measured": 3}
    assert same.items() <= provenance.items()
    assert {"git_sha", "platform", "wall_seconds", "sequences_skipped", "letters_changed"} <= provenance.keys()
    assert {"sequences_fitted", "residues_measured"}.isdisjoint(provenance)


@pytest.mark.parametrize("undefined", [float("nan"), float("inf"), None])
def test_a_number_that_is_none_is_null(tmp_path: Path, undefined: float | None) -> None:
    intervals: dict[str, Any] = {"a": {"low": undefined, "high": 1.0}}
    run_cell(Small(Findings({"a": undefined}, intervals, MEASURED)), tmp_path / "cell", "")
    result = result_of(tmp_path / "cell")
    assert (result["scalars"], result["scalar_intervals"]) == ({"a": None}, {"a": None})


def test_what_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no"):
        run_cell(Small(None, refused=True), tmp_path / "cell", "")
    assert not (tmp_path / "cell").exists()


def test_a_cell_that_fails_leaves_no_result(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="boom"):
        run_cell(Small(None, ValueError("boom")), tmp_path / "cell", "")
    assert not (tmp_path / "cell" / "result.json").exists()
    assert not is_finished(tmp_path / "cell")


def test_the_time_of_what_is_read_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.5])
    monkeypatch.setattr(skeleton.time, "perf_counter", lambda: next(clock))
    run_cell(Small(Findings({}, {}, MEASURED, seconds_before=4.0)), tmp_path / "cell", "")
    assert result_of(tmp_path / "cell")["provenance"]["wall_seconds"] == 6.5


def test_a_section_may_not_take_the_place_of_a_field(tmp_path: Path) -> None:
    sections: Sequence[str] = ("scalars", "provenance", "identity")
    for name in sections:
        with pytest.raises(TypeError, match=name):
            run_cell(Small(Findings({}, {}, MEASURED, {name: {}})), tmp_path / name, "")
