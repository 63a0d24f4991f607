"""Published numbers beside a study's own."""

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from plmdepth.report.published import COLUMNS, print_published, published_table, write_published
from plmdepth.report.published_numbers import PUBLISHED
from plmdepth.results.atomic import write_json
from plmdepth.results.record import Record

CHOICES = pd.DataFrame(
    [
        ("no_loss", "most_confident", 0.95, 30.0, 0.002),
        ("best", "last", 0.9, 22.0, 0.011),
        ("best", "most_confident", 0.8, 16.5, 0.0285),
    ],
    columns=["goal", "fallback", "threshold", "layers", "difference_to_last"],
)


def curves(model: str = "esm2_650m", task: str = "ec") -> pd.DataFrame:
    return pd.DataFrame({"model": [model], "dataset": [task], "n_layers": [33]})


def result(weights: str = "sha256:abc", **more: object) -> dict[str, Any]:
    return {"identity": {"weights": weights}, "provenance": {"sequences_measured": 1519}, **more}


def written(folder: Path, **identity: str) -> Path:
    curves().to_parquet(folder / "curves.parquet")
    CHOICES.to_csv(folder / "choices.csv", index=False)
    write_json(folder / "result.json", result(**identity))
    return folder


def said(folder: Path, **identity: str) -> str:
    console = Console(file=StringIO(), width=200)
    print_published(Record(written(folder, **identity), result(**identity), curves(), ""), console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_numbers_here_are_the_best_choice_with_the_published_fallback() -> None:
    table = published_table(curves(), CHOICES, result()).set_index("quantity")
    assert table.loc["gain", "here"] == pytest.approx(2.85)
    assert table.loc["efficiency", "here"] == pytest.approx(50.0)
    assert table["published"].to_dict() == {"gain": "0.4 to 7.01", "efficiency": "over 10"}
    assert set(table["source"]) == {"Hart et al. 2026, arXiv:2602.20449, abstract"}


@pytest.mark.parametrize(("model", "task"), [("esm2_8m", "ec"), ("esm2_650m", "secondary_structure")])
def test_nothing_is_said_of_a_model_or_task_that_nothing_is_published_of(model: str, task: str) -> None:
    table = published_table(curves(model, task), CHOICES, result())
    assert table.empty
    assert tuple(table.columns) == COLUMNS


def test_untrained_weights_leave_the_column_empty_and_say_why(tmp_path: Path) -> None:
    table = published_table(curves(), CHOICES, result("random:0"))
    assert table["here"].isna().all()
    assert set(table["note"]) == {"untrained weights: the published numbers are of trained ones"}
    assert said(tmp_path, weights="random:0") == ""


def test_without_the_published_fallback_there_is_no_number() -> None:
    table = published_table(curves(), CHOICES.query("fallback == 'last'"), result())
    assert table["here"].isna().all()
    assert set(table["note"]) == {"no choice with fallback=most_confident"}


def test_the_note_says_in_what_the_run_differs() -> None:
    notes = published_table(curves(task="subcellular"), CHOICES, result(confidence="mean_certainty"))["note"]
    assert "1519 test proteins here, 2773 there" in notes[0]
    assert "metric.confidence=mean_certainty here" in notes[0]
    plain = published_table(curves(), CHOICES, result(confidence="max_probability"))["note"][0]
    assert "1519 test proteins here;" in plain
    assert "confidence" not in plain


def test_the_table_is_written_where_something_is_published(tmp_path: Path) -> None:
    path = write_published(written(tmp_path))
    assert path == tmp_path / "published.csv"
    table = pd.read_csv(path)
    assert tuple(table.columns) == COLUMNS
    assert table["here"].tolist() == pytest.approx([2.85, 50.0])
    curves(task="fold").to_parquet(tmp_path / "curves.parquet")
    path.unlink()
    assert write_published(tmp_path) is None
    assert not path.exists()


def test_both_stand_beside_each_other_in_the_terminal(tmp_path: Path) -> None:
    lines = said(tmp_path).splitlines()
    assert lines[:3] == [
        "  published / here (Hart et al. 2026, arXiv:2602.20449, abstract):",
        "    gain over the last layer: 0.4 to 7.01 / 2.85 percentage points",
        "    efficiency (here: layers not computed): over 10 / 50.00 percent",
    ]
    assert len(lines) == 4
    assert lines[3].startswith("    note: published over 3 models and 5 tasks together")


def test_a_number_of_one_model_and_task_alone_is_matched_alone() -> None:
    one = replace(PUBLISHED[0], stated="2", models=("prot_bert",), tasks=("go_mf",), fallback="last")
    assert published_table(curves(), CHOICES, result(), [one]).empty
    found = published_table(curves("prot_bert", "go_mf"), CHOICES, result(), [one])
    assert found["here"].tolist() == pytest.approx([1.1])


def test_models_and_tasks_of_published_numbers_are_options() -> None:
    conf = Path(__file__).parents[2] / "conf"
    for number in PUBLISHED:
        assert all((conf / "model" / f"{model}.yaml").exists() for model in number.models)
        assert all((conf / "dataset" / f"{task}.yaml").exists() for task in number.tasks)
