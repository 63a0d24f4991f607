from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from plmdepth.metrics.quantity import Quantity
from plmdepth.report.terminal import answers, notes, numbers, print_curves, print_record, scope_answers
from plmdepth.results.record import Record
from tests.report.test_figures import curves


def record(**scalars: Any) -> Record:
    result = {
        "scalars": scalars,
        "scalar_intervals": {"ed_kl": {"low": 2.0, "high": 3.0}, "ed_cosine": None},
        "provenance": {"sequences_skipped": {"empty sequence": 2}, "letters_changed": {"lower case raised": 5}},
    }
    table = curves("logit_lens", "kl_to_final", ("",))
    return Record(Path("outputs/cell"), result, table, "")


def printed(shown: Record) -> str:
    console = Console(file=StringIO(), width=80)
    print_record(shown, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_answer_names_the_layer_with_its_interval() -> None:
    (sentence,) = answers(record(ed_kl=3.0))
    assert "at layer 3 [2, 3] of 4" in sentence


@pytest.mark.parametrize(("value", "said"), [(2.0, "from layer 2 on"), (None, "never changes from negative")])
def test_the_turn_from_erasing_to_writing_may_not_exist(value: float | None, said: str) -> None:
    assert said in answers(record(ed_cosine=value))[0]


def test_accuracy_and_loss_are_said_in_words() -> None:
    (sentence,) = answers(record(accuracy_final=0.25, cross_entropy_final=2.5))
    assert "25.0% of the predicted residues are right, at 2.500 nats" in sentence


def test_what_was_skipped_or_changed_is_said() -> None:
    assert notes(record()) == ["2 skipped: empty sequence", "lower case raised: 5"]


@pytest.mark.parametrize("width", [30, 60, 80])
def test_the_table_has_a_row_a_layer_and_no_value_is_cut_at_any_width(width: int) -> None:
    names = [f"quantity_{number}" for number in range(8)]
    table = pd.concat([curves("new", name, ("",)) for name in names])
    console = Console(file=StringIO(), width=width)
    print_curves(table, {}, console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    headings = [line for line in lines if "layer" in line]
    assert len(headings) > 1 or width == 80
    for layer in range(5):
        rows = [line.split() for line in lines if line.split()[:1] == [str(layer)]]
        assert len(rows) == len(headings)
        assert [value for row in rows for value in row[1:]] == [f"{layer * 0.5:.3f}"] * len(names)


def test_a_metric_chooses_its_columns_and_the_rest_is_counted() -> None:
    table = pd.concat([curves("new", name, ("",)) for name in ("first", "second")])
    known = {"new": {"curves": [Quantity("new", "second", "", "label", heading="the\nsecond").described()]}}
    console = Console(file=StringIO(), width=80)
    print_curves(table, known, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "second" in text
    assert "first" not in text
    assert "1 more curves" in text


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        ([4.6, 0.193, 0.0], ["4.600", "0.193", "0.000"]),
        ([153.88, 1.47, 27.58, 51.66], ["153.9", "1.5", "27.6", "51.7"]),
        ([0.0342, 0.000455, 0.000122], ["0.034200", "0.000455", "0.000122"]),
        ([1.3e-3, 7.88e-7, 0.0], ["1.30e-03", "7.88e-07", "0.00e+00"]),
        ([3.6, 0.00008, 0.0044, -0.0057, 0.012], ["3.60000", "0.00008", "0.00440", "-0.00570", "0.01200"]),
        ([2.5e7, 1.0], ["2.50e+07", "1.00e+00"]),
        ([0.0], ["0.000"]),
        ([], []),
    ],
)
def test_a_column_is_aligned_and_nothing_but_zero_reads_as_zero(values: list[float], cells: list[str]) -> None:
    assert numbers(values) == cells


def test_erasure_depth_is_a_sentence() -> None:
    shown = record(erasure_depth=3.0)
    shown.result["scalar_intervals"]["erasure_depth"] = {"low": 2.0, "high": 4.0}
    (sentence,) = answers(shown)
    assert "until layer 3 [2, 4] of 4 (erasure_depth)" in sentence


def test_what_means_nothing_is_said_with_the_reason() -> None:
    shown = record(ed_cosine=None)
    shown.result["quantities"] = {"residual": {"meaningless": {"ed_cosine": "every layer ends in a norm"}}}
    assert answers(shown) == ["ed_cosine means nothing here: every layer ends in a norm."]


def test_scalars_without_a_sentence_are_listed_with_their_intervals() -> None:
    shown = record(ed_new=2.0, ed_new_depth=0.5, other=None)
    shown.result["scalar_intervals"]["ed_new"] = {"low": 1.0, "high": 3.0}
    assert answers(shown) == ["ed_new 2 [1, 3], other undefined."]


def test_every_scope_has_a_line_with_what_is_known_of_it(tmp_path: Path) -> None:
    scopes = {
        "noise_level=0.2": {"scalars": {"ed_kl": 9.0, "accuracy_final": 0.724, "cross_entropy_final": None}},
        "noise_level=0.8": {"scalars": {"ed_kl": None}},
    }
    record = Record(tmp_path, {"scopes": scopes}, pd.DataFrame(), "")
    expected = ["noise level=0.2: half of the distance at layer 9, 72.4% right at the last layer."]
    assert list(scope_answers(record)) == expected
