from pathlib import Path
from typing import Any

import pytest
from tests.proteins.tasks.files import CSV_HEADER, written

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.netsurfp import NetsurfpDataset
from plmdepth.proteins.tasks.task import Task

FLIP = {
    "sequences.fasta": ">1a-A\nMKTV\n>2b-B\nACDE\n>3c-C\nWWUX\n",
    "sampled.fasta": (
        ">1a-A SET=train VALIDATION=False\nCHHC\n>2b-B SET=train VALIDATION=True\nEEEC\n"
        ">3c-C SET=test VALIDATION=False\nHCCC\n"
    ),
    "mask.fasta": ">1a-A\n0110\n>2b-B\n1111\n>3c-C\n1001\n",
}
IN_FOLDER = {f"flip_secondary_structure/{name}": content for name, content in FLIP.items()}
ONES = "1.0 1.0 1.0 1.0"


def rows(*texts: str) -> str:
    return CSV_HEADER + "".join(f"{' '.join(text)},H E C C,G B T S,{ONES},{ONES}\n" for text in texts)


def many(letter: str, count: int = 100) -> str:
    letters = "ACDEFGHIKLMNPQRSTVWY"
    return rows(*(f"{letter}{letters[n % 20]}{letters[n // 20]}M" for n in range(count)))


def dataset(root: Path, **options: Any) -> NetsurfpDataset:
    return NetsurfpDataset(name="mine", root=str(root), **options)


def sizes(task: Task) -> dict[str, int]:
    return {split: len(members) for split, members in task.splits.items()}


@pytest.mark.parametrize("files", [FLIP, IN_FOLDER])
def test_flip_is_found_in_its_folder_or_in_the_root(tmp_path: Path, files: dict[str, str]) -> None:
    task = dataset(written(tmp_path, files)).load_task(1022, seed=0)
    assert sizes(task) == {"train": 1, "valid": 1, "test": 1}
    assert task.splits["train"][0].label.tolist() == [-1, 0, 0, -1]
    assert set(task.absent) == {"cb513", "ts115", "casp12"}


def test_further_tests_are_read_where_they_are(tmp_path: Path) -> None:
    files = IN_FOLDER | {
        "CB513_HHblits.csv": rows("GGGG"),
        "TS115.csv": rows("HHHH", "KKKK"),
        "CASP12.csv": rows("LLLL"),
    }
    task = dataset(written(tmp_path, files)).load_task(1022, seed=0)
    assert sizes(task) == {"train": 1, "valid": 1, "test": 1, "cb513": 1, "ts115": 2, "casp12": 1}
    assert dict(task.absent) == {}


def test_a_copy_of_a_further_test_is_taken_out_of_train(tmp_path: Path) -> None:
    files = {**IN_FOLDER, "TS115.csv": rows("ACDE")}
    with pytest.raises(InputError, match="split valid: no protein is left"):
        dataset(written(tmp_path, files)).load_task(1022, seed=0)


def test_a_further_test_that_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"split=casp12 is not there \(no CASP12_HHblits\.csv or CASP12\.csv\)"):
        dataset(written(tmp_path, IN_FOLDER), split="casp12").proteins(1022, seed=0)


def test_missing_files_of_flip_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        dataset(tmp_path).proteins(1022, seed=0)
    assert "no flip_secondary_structure/sequences.fasta in" in str(caught.value)
    assert "CASP12.csv; dataset.download=true" in str(caught.value)


def test_the_csv_train_set_is_tested_on_cb513(tmp_path: Path) -> None:
    files = {"training_hhblits.csv": many("A"), "CB513.csv": rows("GGGG"), "TS115.csv": rows("HHHH")}
    task = dataset(written(tmp_path, files), train="csv", states=8).load_task(1022, seed=0)
    assert sizes(task)["train"] + sizes(task)["valid"] == 100
    assert {split: n for split, n in sizes(task).items() if split not in ("train", "valid")} == {"test": 1, "ts115": 1}
    assert [task.classes[i] for i in task.splits["test"][0].label] == list("GBTS")
    assert task.absent["cb513"] == "it is split test"


def test_cb513_can_be_divided_for_eight_states(tmp_path: Path) -> None:
    files = {"CB513_HHblits.csv": many("A"), "TS115.csv": rows("HHHH")}
    task = dataset(written(tmp_path, files), train="cb513", states=8).load_task(1022, seed=0)
    counts = sizes(task)
    assert counts["train"] + counts["valid"] + counts["test"] == 100
    assert counts["train"] > counts["test"] > counts["valid"] > 0
    assert counts["ts115"] == 1


@pytest.mark.parametrize("train", ["csv", "cb513"])
def test_cb513_is_needed_where_it_is_the_test(tmp_path: Path, train: str) -> None:
    with pytest.raises(InputError, match=r"no CB513_HHblits\.csv in"):
        dataset(written(tmp_path, {"training_hhblits.csv": many("A")}), train=train).load_task(1022, seed=0)


def test_the_csv_train_set_is_named_where_it_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no training_hhblits\.csv in"):
        dataset(written(tmp_path, {"CB513.csv": rows("GGGG")}), train="csv").load_task(1022, seed=0)


@pytest.mark.parametrize(
    ("options", "named"), [({"states": 4}, "must be 3 or 8"), ({"states": 8}, "dataset.train=csv")]
)
def test_states_that_no_file_knows_are_refused(tmp_path: Path, options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        dataset(tmp_path, **options)


@pytest.fixture(scope="module")
def real(shared_data: Path) -> Task:
    return dataset(shared_data / "secondary_structure", length_policy="truncate").load_task(2000, seed=0)


def test_real_proteins_have_the_counts_of_their_source(real: Task) -> None:
    assert sizes(real) == {"train": 2000, "valid": 300, "test": 264, "cb513": 430, "ts115": 115}
    assert set(real.absent) == {"casp12"}


def test_unresolved_real_residues_are_not_scored_as_coil(real: Task) -> None:
    unresolved = "residues that are not resolved"
    assert sum(real.dropped[f"{split}: {unresolved}"] for split in ("train", "valid", "test")) == 41022
    assert real.dropped[f"ts115: {unresolved}"] == 2203
    scored = sum(real.positives(split) for split in ("train", "valid", "test"))
    assert scored.tolist() == [222796, 129725, 221641]  # H, E, C: all of H and E, C less the 41,022


def test_cb513_counts_every_chain_and_residue_once(real: Task) -> None:
    merged = real.dropped["cb513: row merged into an earlier one of the same sequence"]
    assert merged == 511 - 432
    assert sizes(real)["cb513"] + real.dropped["cb513: no residue is scored"] == 432
    assert real.positives("cb513").sum() == 83427  # of the 83,991 in the mask, those that are resolved


def test_labels_of_real_proteins_are_as_long_as_they_are(real: Task) -> None:
    assert all(len(each.label) == len(each.protein) for members in real.splits.values() for each in members)


def test_eight_states_of_real_proteins_are_three_when_they_are_joined(shared_data: Path) -> None:
    root = shared_data / "secondary_structure"
    three, eight = (dataset(root, train="cb513", states=n, length_policy="truncate").load_task(2000, 0) for n in (3, 8))
    joined = {"G": "H", "H": "H", "I": "H", "B": "E", "E": "E", "S": "C", "T": "C", "C": "C"}
    for split, members in eight.splits.items():
        for one, other in zip(members, three.splits[split], strict=True):
            assert one.protein == other.protein
            assert all(
                (a < 0 and b < 0) or joined[eight.classes[a]] == three.classes[b]
                for a, b in zip(one.label, other.label, strict=True)
            )
    assert eight.without_positive() == ()


def test_long_real_proteins_keep_the_labels_of_their_first_residues(shared_data: Path, real: Task) -> None:
    cut = dataset(shared_data / "secondary_structure", length_policy="truncate").load_task(1022, seed=0)
    assert cut.changes["test: sequences truncated"] == 1
    for short, whole in zip(cut.splits["test"], real.splits["test"], strict=True):
        assert short.label.tolist() == whole.label[:1022].tolist()
