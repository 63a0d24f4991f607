"""What is drawn and shown of a record follows from the files that it holds."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from plmdepth.cells.cell import run_cell
from plmdepth.objectives.diffusion import Diffusion
from plmdepth.report.views import draw, show
from plmdepth.results.record import Record
from tests.analysis.test_effective_depth import combined
from tests.analysis.test_run import analysis, record_of


def drawn(record: Record) -> set[str]:
    draw(record.folder)
    return {path.stem for path in (record.folder / "figures").iterdir()}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return record_of(analysis(), tmp_path_factory.mktemp("drawn") / "cell")


def test_a_measurement_is_drawn_a_figure_a_metric(record: Record) -> None:
    assert drawn(record) == {"logit_lens", "residual"}


def test_noise_levels_have_figures_of_their_own(tmp_path: Path) -> None:
    record = record_of(analysis(objective=Diffusion()), tmp_path / "cell")
    assert drawn(record) == {"logit_lens", "residual", "logit_lens_by_scope", "residual_by_scope"}


def test_depths_are_drawn_on_one_axis(record: Record, tmp_path: Path) -> None:
    assert drawn(combined({"suite": record}, tmp_path / "cell")) == {"effective_depth"}


def test_what_is_drawn_is_in_the_finished_record_alone(record: Record, tmp_path: Path) -> None:
    cell = analysis()
    run_cell(replace(cell, seed=cell.seed), tmp_path / "cell", "")
    assert not (tmp_path / "cell" / "figures").exists()


def test_a_measurement_is_shown_as_a_table_over_layers(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    show(record.folder, Console(width=100))
    assert capsys.readouterr().out.splitlines()[0] == "esm2 on demo, 12 proteins"
