"""``dataset=table``: what a table says is what a task holds; what could be read in two ways is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.table import TableDataset
from plmdepth.proteins.protein import CANONICAL
from plmdepth.proteins.tasks.task import Task

RANDOM = np.random.default_rng(1)
SEQUENCES = ["".join(RANDOM.choice(list(CANONICAL), 30)) for _ in range(160)]
SPLIT = ["train"] * 100 + ["valid"] * 30 + ["test"] * 30


def _table(folder: Path, **columns: object) -> str:
    path = folder / "mine.csv"
    pd.DataFrame({"sequence": SEQUENCES, "split": SPLIT} | columns).to_csv(path, index=False)
    return str(path)


def _task(path: str, **options: object) -> Task:
    return TableDataset(name="table", path=path, **options).load_task(1022, 0)  # type: ignore[arg-type]


FLOATS = [k / 7 + 0.01 for k in range(160)]


def test_a_regression_keeps_its_units_and_its_split(tmp_path: Path) -> None:
    task = _task(_table(tmp_path, fitness=FLOATS))
    assert task.kind == "regression"
    assert task.classes == ("fitness",)
    assert {split: len(members) for split, members in task.splits.items()} == {"train": 100, "valid": 30, "test": 30}
    assert [each.label.tolist() for each in task.splits["test"]] == [[value] for value in FLOATS[130:]]
    assert task.split["by"] == "column split"


@pytest.mark.parametrize(
    ("labels", "kind", "classes"),
    [
        ([f"class {k % 3}" for k in range(160)], "multiclass", ("class 0", "class 1", "class 2")),
        ([k % 2 for k in range(160)], "multiclass", ("0", "1")),
        (["HEC" * 10] * 160, "residue", ("C", "E", "H")),
        (["[" + ", ".join(["0.5", "1.5"] * 15) + "]"] * 160, "residue_regression", ("label",)),
    ],
)
def test_the_task_is_inferred_where_there_is_one_reading(
    labels: list[object], kind: str, classes: tuple[str, ...], tmp_path: Path
) -> None:
    task = _task(_table(tmp_path, label=labels))
    assert (task.kind, task.classes) == (kind, classes)


def test_several_columns_are_terms_or_measurements(tmp_path: Path) -> None:
    terms = _task(
        _table(tmp_path, a=[k % 2 for k in range(160)], b=[int(k % 3 == 0) for k in range(160)]), label=["a", "b"]
    )
    assert terms.kind == "multilabel"
    missing = [None if k == 3 else value for k, value in enumerate(FLOATS)]
    several = _task(_table(tmp_path, a=FLOATS, b=missing), label=["a", "b"])
    assert several.kind == "regression"
    assert np.isnan(several.splits["train"][3].label).tolist() == [False, True]


def test_whole_numbers_are_refused_until_it_is_said_what_they_are(tmp_path: Path) -> None:
    path = _table(tmp_path, score=[k % 5 for k in range(160)])
    with pytest.raises(InputError, match=r"classes or measurements; say dataset.task=classification or"):
        _task(path)
    assert _task(path, task="classification").classes == ("0", "1", "2", "3", "4")
    assert _task(path, task="regression").kind == "regression"


def test_columns_are_found_in_any_case_or_named(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    frame = pd.DataFrame(
        {"Seq": SEQUENCES, "Fitness": FLOATS, "Stage": SPLIT, "Accession": [f"P{k}" for k in range(160)]}
    )
    frame.to_csv(path, sep="\t", index=False)
    task = _task(str(path))
    assert task.splits["train"][0].protein.id == "P0"
    with pytest.raises(InputError, match=r"no such column \(did you mean Fitness\?\); the table has Seq, Fitness"):
        _task(str(path), label="fitnes")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": FLOATS, "score": FLOATS}, "label and score could both be the label"),
        ({"other": FLOATS}, "no column of labels among"),
        ({"label": [1.5] * 160}, r"all labels in label are equal"),
        ({"label": ["x"] * 160}, r"all labels in label are x"),
        ({"label": [*FLOATS[:-1], "inf"]}, r"row 160: the label 'inf'"),
        ({"label": [*FLOATS[:-1], "3,5"]}, r"row 160: the label '3,5' in label is no number"),
        (
            {"label": [*(["HEC" * 10] * 159), "HEC"], "task": "residue_classification"},
            "row 160: 3 labels .* for 30 residues",
        ),
        ({"label": ["a", "b"] * 79 + ["a", "only here"]}, r"row 160: no row of train has the label 'only here'"),
        ({"label": FLOATS, "split": ["train"] * 140 + ["valid"] * 10 + ["test"] * 10}, r"10 proteins in valid"),
    ],
)
def test_a_bad_table_is_one_line_with_its_row(columns: dict[str, object], message: str, tmp_path: Path) -> None:
    task = columns.pop("task", None)
    with pytest.raises(InputError, match=message) as refused:
        _task(_table(tmp_path, **columns), task=task)
    assert "\n" not in str(refused.value)


def test_rows_without_a_label_are_counted(tmp_path: Path) -> None:
    task = _task(_table(tmp_path, label=[None, *FLOATS[1:]]))
    assert task.dropped["rows without a label"] == 1
    assert len(task.splits["train"]) == 99


def test_one_sequence_with_several_measurements_has_their_mean(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [*list(zip(SEQUENCES, FLOATS, SPLIT, strict=True)), (SEQUENCES[0], 9.0, "train")]
    pd.DataFrame(rows, columns=["sequence", "label", "split"]).to_csv(path, index=False)
    first = {how: _task(str(path), duplicates=how).splits["train"][0].label.item() for how in (None, "first")}
    assert first == {None: pytest.approx((FLOATS[0] + 9) / 2), "first": FLOATS[0]}


def test_one_sequence_with_two_classes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [(s, "ab"[k % 2], p) for k, (s, p) in enumerate(zip(SEQUENCES, SPLIT, strict=True))]
    pd.DataFrame([*rows, (SEQUENCES[0], "b", "train")], columns=["sequence", "label", "split"]).to_csv(
        path, index=False
    )
    with pytest.raises(InputError, match="rows 1 and 161 are one sequence with different labels"):
        _task(str(path))


def test_copies_of_an_id_keep_their_own_labels(tmp_path: Path) -> None:
    task = _task(_table(tmp_path, label=FLOATS, id=["same"] * 160))
    found = {each.protein.sequence: each.label.item() for members in task.splits.values() for each in members}
    assert found == dict(zip(SEQUENCES, FLOATS, strict=True))


def test_a_split_without_validation_takes_it_out_of_train(tmp_path: Path) -> None:
    task = _task(_table(tmp_path, label=FLOATS, split=["train"] * 130 + ["test"] * 30), valid_share=0.2)
    assert len(task.splits["test"]) == 30
    assert task.split["by"] == "column split, valid taken out of train by identity below 0.3"
    assert len(task.splits["valid"]) == pytest.approx(0.2 * 130, abs=3)


def test_mutants_alone_take_their_sequences_from_the_parent(tmp_path: Path) -> None:
    parent = SEQUENCES[0]
    mutants = [
        f"{parent[k % 30]}{k % 30 + 1 + 24}{letter}" for k in range(30) for letter in CANONICAL if letter != parent[k]
    ]
    pd.DataFrame({"mutant": mutants, "score": np.arange(len(mutants)) / 7}).to_csv(tmp_path / "dms.csv", index=False)
    task = _task(str(tmp_path / "dms.csv"), parent=parent)
    assert task.split["by"] == "mutated positions"
    positions = {
        split: {next(k for k in range(30) if each.protein.sequence[k] != parent[k]) for each in members}
        for split, members in task.splits.items()
    }
    assert not positions["train"] & positions["test"]
    with pytest.raises(InputError, match=r"give dataset.parent"):
        _task(str(tmp_path / "dms.csv"))


@pytest.mark.parametrize(
    ("table", "options", "kind", "sizes"),
    [
        ("antibodies/cdr.csv", {"label": "cdr"}, "residue", (165, 40, 106)),
        ("antibodies/paratope.csv", {}, "residue", (720, 90, 90)),
        (
            "antibodies/jain.csv",
            {"sequence": "VH", "label": "hek_titer", "split_by": "random"},
            "regression",
            (96, 21, 20),
        ),
    ],
)
def test_real_tables(
    table: str, options: dict[str, object], kind: str, sizes: tuple[int, ...], shared_data: Path
) -> None:
    task = _task(str(shared_data / table), **options)
    assert task.kind == kind
    assert tuple(len(members) for members in task.splits.values()) == sizes


def test_the_parent_of_a_scan_may_begin_elsewhere(shared_data: Path) -> None:
    """ESM's copy of the assay numbers mutants by the whole protein, and its parent lacks the first 23 residues."""
    folder = shared_data / "dms/esm1v_example"
    task = _task(
        str(folder / "BLAT_ECOLX_Ranganathan2015_labeled_subset.csv"),
        label="2500",
        parent=str(folder / "BLAT_ECOLX_wt_offset24.fasta"),
    )
    assert sum(len(members) for members in task.splits.values()) == 4996
