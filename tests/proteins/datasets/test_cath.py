from pathlib import Path
from typing import Any

import pytest
from tests.proteins.files import fasta, one_line, written

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.cath import CathDataset, read_cath
from plmdepth.proteins.tasks.raw import RawTask

HEADER = "id,cath,fold_topology,split\n"
ROWS = (
    "1aA00,3.40.50.300,3.40.50,train\n1bA00,3.30.70.330,3.30.70,train\n1cA00,3.40.50.300,3.40.50,valid\n"
    "1dA00,3.40.50.300,3.40.50,test_family\n1eA00,3.40.50.9,3.40.50,test_superfamily_holdout\n"
    "1fA00,10.8.10.10,10.8.10,train\n"
)
SEQUENCES = {"1aA00": "MKTV", "1bA00": "ACDE", "1cA00": "GGG", "1dA00": "WW", "1eA00": "YYY", "1fA00": "CC"}


def read(folder: Path, labels: str, sequences: dict[str, str] = SEQUENCES) -> RawTask:
    root = written(folder, {"labels.csv": labels, "chains.fasta": fasta(**sequences)})
    return read_cath(root / "labels.csv", root / "chains.fasta")


def test_topologies_are_classes_in_numerical_order(tmp_path: Path) -> None:
    raw = read(tmp_path, HEADER + ROWS)
    assert raw.kind == "multiclass"
    assert raw.classes == ("3.30.70", "3.40.50", "10.8.10")
    assert [raw.classes[int(entry.label)] for entry in raw.entries["train"]] == ["3.40.50", "3.30.70", "10.8.10"]


def test_known_superfamilies_are_test_and_others_are_the_holdout(tmp_path: Path) -> None:
    raw = read(tmp_path, HEADER + ROWS)
    assert {split: [entry.id for entry in entries] for split, entries in raw.entries.items()} == {
        "train": ["1aA00", "1bA00", "1fA00"],
        "valid": ["1cA00"],
        "test": ["1dA00"],
        "test_superfamily_holdout": ["1eA00"],
    }


def test_a_superfamily_that_train_has_is_no_holdout(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, HEADER + ROWS + "1gA00,3.40.50.9,3.40.50,train\n")
    assert "superfamily 3.40.50.9 is held out and in train" in one_line(caught)


def test_a_domain_without_sequence_is_left_out_and_counted(tmp_path: Path) -> None:
    raw = read(tmp_path, HEADER + ROWS, {name: text for name, text in SEQUENCES.items() if name != "1bA00"})
    assert [entry.id for entry in raw.entries["train"]] == ["1aA00", "1fA00"]
    assert raw.dropped == {"train: no sequence": 1}


def test_columns_and_splits_are_read_in_any_case(tmp_path: Path) -> None:
    rows = ROWS.replace("train", "Train").replace("test_family", "TEST_FAMILY")
    again = read(tmp_path, "ID,CATH,Fold_Topology,Split\n" + rows)
    assert {split: len(each) for split, each in again.entries.items()} == {
        "train": 3,
        "valid": 1,
        "test": 1,
        "test_superfamily_holdout": 1,
    }


def test_two_rows_of_an_id_agree_or_are_refused_with_both_places(tmp_path: Path) -> None:
    row = "1aA00,3.40.50.300,3.40.50,train\n"
    assert len(read(tmp_path, HEADER + ROWS + row).entries["train"]) == 4
    with pytest.raises(InputError) as caught:
        read(tmp_path, HEADER + ROWS + row.replace("train", "valid"))
    assert "row 7 has the id of" in one_line(caught)
    assert "row 1, 1aA00, and other labels" in one_line(caught)


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, HEADER + "1aA00,3.40.50.300,3.40.50,tset\n")
    assert "1aA00 is of split 'tset'" in one_line(caught)


@pytest.mark.parametrize("labels", ["", HEADER, "id,cath,split\n1aA00,3.40.50.300,train\n"])
def test_other_columns_or_no_rows_are_refused(tmp_path: Path, labels: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, labels)
    assert "it should hold rows with the columns id, cath, fold_topology, split" in one_line(caught)


def dataset(root: Path, **options: Any) -> CathDataset:
    return CathDataset(name="fold", root=str(root), **options)


def test_missing_labels_are_named_and_cannot_be_fetched(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        dataset(tmp_path).load_task(1022, seed=0)
    assert f"no labels.csv in {tmp_path}; dataset.root should hold labels.csv, cath_single" in str(caught.value)
    assert "download" not in str(caught.value)


def test_missing_sequences_are_named(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,cath,fold_topology,split\n")
    with pytest.raises(InputError, match=r"no cath_single_domain_chains\.fasta"):
        dataset(tmp_path).load_task(1022, seed=0)


def test_real_domains_have_the_counts_of_their_source(shared_data: Path) -> None:
    task = dataset(shared_data / "fold_cath").load_task(1022, seed=0)
    assert {split: len(members) for split, members in task.splits.items()} == {
        "train": 2304,
        "valid": 290,
        "test": 256,
        "test_superfamily_holdout": 842,
    }
    assert len(task.classes) == 68
    assert dict(task.dropped) == {}
    largest = sum(task.positives(split)[task.classes.index("3.40.50")] for split in task.splits)
    assert largest == 675


def test_folds_of_one_superfamily_have_no_holdout(shared_data: Path) -> None:
    task = dataset(shared_data / "fold_cath").load_task(1022, seed=0)
    assert len(task.without_positive("test_superfamily_holdout")) == 12
    assert task.without_positive() == ()


def test_the_holdout_can_be_measured(shared_data: Path) -> None:
    chosen = dataset(shared_data / "fold_cath", split="test_superfamily_holdout", limit=50).proteins(1022, seed=0)
    assert len(chosen.proteins) == 50
