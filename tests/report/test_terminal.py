from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from plmdepth.report.terminal import answers, notes, print_record, scope_answers
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


def test_the_table_has_a_row_a_layer_and_fits_80_columns() -> None:
    text = printed(record(ed_kl=3.0))
    rows = [line.split() for line in text.splitlines()]
    assert ["0", "0.000"] in rows
    assert ["4", "2.000"] in rows
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "outputs/cell" in text


def test_every_scope_has_a_line_with_what_is_known_of_it(tmp_path: Path) -> None:
    scopes = {
        "noise_level=0.2": {"scalars": {"ed_kl": 9.0, "accuracy_final": 0.724, "cross_entropy_final": None}},
        "noise_level=0.8": {"scalars": {"ed_kl": None}},
    }
    record = Record(tmp_path, {"scopes": scopes}, pd.DataFrame(), "")
    expected = ["noise level=0.2: half of the distance at layer 9, 72.4% right at the last layer."]
    assert list(scope_answers(record)) == expected
