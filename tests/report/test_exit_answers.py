"""The choices of an early-exit study in sentences."""

from io import StringIO
from pathlib import Path

import pandas as pd
from rich.console import Console

from plmdepth.report.exit_answers import exit_answers, print_exits
from plmdepth.results.record import Record
from tests.report.test_exit_figures import METRIC, SCALARS, choices, record_in, study_curves


def record(folder: Path, table: pd.DataFrame | None = None, **scalars: float | None) -> Record:
    record_in(folder)
    if table is not None:
        table.to_csv(folder / "choices.csv", index=False)
    return Record(folder, {"metric": METRIC, "scalars": SCALARS | scalars}, study_curves(), "")


def test_a_choice_says_goal_threshold_layers_time_score_and_difference(tmp_path: Path) -> None:
    first, second, third, _ = exit_answers(record(tmp_path))
    assert first == (
        "No loss on validation: no protein leaves early, the last layer's answer is taken: 4.0 of 4 layers, "
        "in 100% of the time; on test 0.900 [0.870, 0.940] accuracy, +0.000 [-0.010, +0.010] against the last layer."
    )
    assert second.startswith(
        "Best on validation: a protein leaves at confidence 0.8, else the last layer's answer is taken: "
        "2.5 of 4 layers, in 60% of the time; on test 0.800"
    )
    assert "its surest layer's answer is taken" in third


def test_labels_of_residues_say_how_many_must_be_sure(tmp_path: Path) -> None:
    found = record(tmp_path)
    found.result["residue_share"] = 0.8
    first, second, *_ = exit_answers(found)
    assert first.startswith("No loss on validation: no protein leaves early, the last layer's answer is taken")
    assert second.startswith(
        "Best on validation: a protein leaves when 80% of its residues have confidence 0.8, else the last layer's ans"
    )


def test_one_threshold_for_both_goals_is_one_sentence(tmp_path: Path) -> None:
    both = choices(("no_loss", "last", 0.8), ("best", "last", 0.8))
    sentence, _ = exit_answers(record(tmp_path, both))
    assert sentence.startswith("No loss and best on validation: a protein leaves at confidence 0.8")


def test_a_threshold_that_was_not_timed_says_nothing_of_time(tmp_path: Path) -> None:
    sentence, _ = exit_answers(record(tmp_path, choices(("best", "last", 0.8)).assign(threshold=0.7)))
    assert "of the time" not in sentence
    assert "2.5 of 4 layers; on test" in sentence


def test_time_is_said_to_follow_the_layers_where_a_line_was_fitted(tmp_path: Path) -> None:
    *_, last = exit_answers(record(tmp_path))
    assert last == "A share x of the layers takes 0.90 x + 0.10 of the time of a full pass (r^2 = 0.980)."
    assert not any("share x" in each for each in exit_answers(record(tmp_path, time_slope=None)))


def test_the_layers_the_sentences_and_the_folder_are_printed(tmp_path: Path) -> None:
    console = Console(file=StringIO(), width=80)
    print_exits(record(tmp_path), console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0] == "toy on demo, 7 proteins"
    (last,) = [line.split() for line in lines if line.split()[:1] == ["4"]]
    assert [float(cell) for cell in last] == [4, 0.5, 0.5, 0.5]
    assert any("Best on validation" in line for line in lines)
    assert lines[-1] == f"  record: {tmp_path}"
