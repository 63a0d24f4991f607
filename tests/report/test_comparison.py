"""The scalars of many cells side by side: what a person reads, and what is kept."""

import csv
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from plmdepth.report.comparison import Row, comparison_csv, print_comparison, read_row
from plmdepth.results.atomic import write_json
from plmdepth.results.identity import Place

DEPTHS = {
    **{"ed_kl": 8.0, "ed_kl_depth": 2 / 3, "ed_cosine": None, "ed_cosine_depth": None},
    **{"accuracy_final": 0.5, "erasure_depth": 7.0},
}
INTERVALS = {"ed_kl": {"low": 7.0, "high": 9.0}, "ed_kl_depth": {"low": 7 / 12, "high": 0.75}, "ed_cosine": None}


def row(model: str = "toy", metric: str = "suite", number: str = "00", **facts: Any) -> Row:
    place = Place(Path("outputs"), "analyze", model, "demo", metric, number)
    return Row(place, {"id": number, "model.n_layers": 12, **facts}, DEPTHS, INTERVALS)


def printed(*rows: Row, width: int = 100, failures: tuple[tuple[str, str], ...] = ()) -> list[str]:
    console = Console(file=StringIO(), width=width)
    print_comparison(rows, failures, console)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def labels(*rows: Row) -> list[str]:
    return [line.split("  ")[0].strip() for line in printed(*rows, width=200) if "[" in line and "%" not in line]


def lines_of(*rows: Row) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(comparison_csv(rows))))


def test_a_cell_is_a_row_with_values_and_intervals() -> None:
    lines = printed(row("a"), row("b"))
    assert lines[0] == "2 cells: demo, suite"
    values = ["0.67", "[0.58,", "0.75]", "undefined", "0.50", "7.00"]
    assert [line.split() for line in lines if line.startswith((" a ", " b "))] == [["a", *values], ["b", *values]]


def test_a_depth_is_shown_as_a_share_alone_and_another_scalar_as_it_is() -> None:
    lines = printed(row())
    assert ["cell", "ed_kl", "ed_cosine", "final", "depth"] in [line.split() for line in lines]
    assert "  ed_kl, ed_cosine: share of the depth (layer / L)" in lines


def test_of_a_probe_the_table_keeps_what_answers_which_layer_to_take() -> None:
    shown = ("best_layer", "test_f1_gain", "test_f1_over_composition")
    hidden = ("valid_f1_best", "test_f1_last", "test_f1_composition", "test_identity_30_f1_gain")
    found = replace(row(), scalars=dict.fromkeys((*shown, *hidden), 0.25), intervals={})
    text = "\n".join(printed(found))
    assert text.count("0.25") == len(shown)
    assert all(name in comparison_csv([found]) for name in hidden)


def test_columns_are_the_scalars_that_any_cell_has() -> None:
    place = Place(Path("outputs"), "analyze", "toy", "demo", "layer_skip", "01")
    skip = Row(place, {}, {"ed_skip": 6.0, "ed_skip_depth": 0.5}, {})
    lines = [line.split() for line in printed(row(), skip, width=200)]
    assert ["toy", "x", "suite", "0.67", "[0.58,", "0.75]", "undefined", "0.50", "7.00"] in lines
    assert ["toy", "x", "layer_skip", "0.50"] in lines


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_table_that_is_too_wide_goes_on_below_with_all_its_values(width: int) -> None:
    lines = printed(row("a_model_of_long_name"), row("b"), width=width)
    assert max(len(line) for line in lines) <= width
    text = "\n".join(line for line in lines if line.startswith(" a_model_of_long_name"))
    for value in ("0.67 [0.58, 0.75]", "undefined", "0.50", "7.00"):
        assert text.count(value) == 1


def test_a_cell_that_failed_is_named_with_its_reason() -> None:
    lines = printed(row(), failures=(("b x demo", "a [b] c"),))
    assert lines[0].startswith("2 cells")
    assert "  b x demo: a [b] c" in lines


def test_a_sweep_in_which_nothing_succeeded_has_no_table() -> None:
    assert printed(failures=(("a", "x"), ("b", "y"))) == ["2 cells", "  a: x", "  b: y"]


def test_a_cell_is_named_by_what_tells_it_from_the_others() -> None:
    assert labels(row("a"), row("b")) == ["a", "b"]
    assert labels(row(), row(metric="logit_lens")) == ["toy x suite", "toy x logit_lens"]
    assert labels(row(seed=0, weights="x"), row(seed=1, weights="y")) == ["toy, seed=0", "toy, seed=1"]
    controls = [{"control.is": "Control"}, {"control.is": "DeadLayers", "control.layers": [7]}]
    assert labels(*(row(**facts) for facts in controls)) == [
        "toy, control=Control",
        "toy, control=DeadLayers layers=[7]",
    ]
    parts = [{"metric.parts.skip.id": name, "metric.parts.skip.reduction": name} for name in ("max", "mean")]
    assert labels(*(row(**facts) for facts in parts)) == ["toy, reduction=max", "toy, reduction=mean"]
    same_word = [{"a.layers": name, "b.layers": name} for name in (1, 2)]
    assert labels(*(row(**facts) for facts in same_word))[0] == "toy, a.layers=1 b.layers=1"
    assert labels(row(number="3f2a"), row(number="77ab")) == ["toy, 3f2a", "toy, 77ab"]


def test_a_hash_that_tells_cells_apart_is_shown_by_its_beginning() -> None:
    assert labels(*(row(task=letter * 64) for letter in "ab")) == ["toy, task=aaaaaaaa", "toy, task=bbbbbbbb"]
    assert labels(row(task="a" * 64), row(task="x" * 64))[1] == f"toy, task={'x' * 64}"


def seeded(value: float | None, seed: int, **facts: Any) -> Row:
    """Return a cell whose weights and number follow its seed."""
    plain = row(number=f"{seed:02d}", seed=seed, weights=f"w{seed}", **facts)
    return Row(plain.place, plain.facts, {"best_layer": 6.0 + seed, "score": value}, {})


def means(*rows: Row) -> list[list[str]]:
    return [line.split() for line in printed(*rows, width=200) if " seeds " in line]


def test_cells_that_differ_in_their_seed_alone_have_a_row_with_mean_and_deviation() -> None:
    lines = means(seeded(0.5, 1), seeded(0.7, 2), seeded(0.6, 3))
    assert lines == [["toy,", "3", "seeds", "8.00", "±", "1.00", "0.60", "±", "0.10"]]
    assert "  ±: standard deviation over seeds" in printed(seeded(0.5, 1), seeded(0.7, 2))


def test_a_score_that_is_undefined_for_one_seed_has_no_mean() -> None:
    assert means(seeded(0.5, 1), seeded(None, 2)) == [["toy,", "2", "seeds", "7.50", "±", "0.71", "undefined"]]


def test_cells_that_differ_in_more_than_their_seed_are_kept_apart() -> None:
    grid = [seeded(0.5 + seed / 10, seed, rate=rate) for rate in (1, 2) for seed in (0, 1)]
    assert [line[:4] for line in means(*grid)] == [["toy,", f"rate={rate},", "2", "seeds"] for rate in (1, 2)]
    assert means(seeded(0.5, 0, task="a" * 64), seeded(0.6, 1, task="b" * 64)) == []  # other proteins
    assert means(row("a", seed=0), row("b", seed=1)) == []
    assert means(row(number="3f2a", seed=0), row(number="77ab", seed=0)) == []  # the same seed twice
    assert not any("±" in line for line in printed(row("a"), row("b")))


def test_rows_over_seeds_are_not_in_the_file() -> None:
    assert {line["variant"] for line in lines_of(seeded(0.5, 1), seeded(0.7, 2))} == {"seed=1", "seed=2"}


def test_a_name_with_brackets_is_shown_as_it_is() -> None:
    assert labels(row(path="[red]a"), row(path="[red]b")) == ["toy, path=[red]a", "toy, path=[red]b"]


def test_the_file_has_a_line_a_cell_and_scalar_with_both_ends() -> None:
    lines = lines_of(row("a", seed=0), row("a", seed=1))
    assert len(lines) == 2 * len(DEPTHS)
    cell = {"model": "a", "dataset": "demo", "metric": "suite", "id": "00", "variant": "seed=0", "n_layers": "12"}
    assert lines[0] == cell | {"scalar": "ed_kl", "value": "8.0", "low": "7.0", "high": "9.0"}
    assert {line["variant"] for line in lines} == {"seed=0", "seed=1"}


def test_what_is_undefined_is_empty_in_the_file() -> None:
    (cosine,) = (line for line in lines_of(row()) if line["scalar"] == "ed_cosine")
    assert (cosine["value"], cosine["low"], cosine["high"]) == ("", "", "")


def test_without_scalars_there_is_no_file() -> None:
    assert comparison_csv([Row(row().place, {}, {}, {})]) == ""


def test_a_row_is_read_from_the_record_alone(tmp_path: Path) -> None:
    folder = tmp_path / "outputs/analyze/toy/demo/suite/3f2a"
    folder.mkdir(parents=True)
    facts = {"id": "3f2a", "model": {"n_layers": 12}}
    write_json(folder / "result.json", {"identity": facts, "scalars": DEPTHS, "scalar_intervals": INTERVALS})
    place = Place(tmp_path / "outputs", "analyze", "toy", "demo", "suite", "3f2a")
    assert read_row(folder) == Row(place, {"id": "3f2a", "model.n_layers": 12}, DEPTHS, INTERVALS)


def test_a_folder_without_a_result_is_a_row_without_scalars() -> None:
    assert read_row(Path("outputs/analyze/toy/demo/suite/3f2a")).scalars == {}
