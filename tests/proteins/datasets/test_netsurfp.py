from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.proteins.files import CSV_HEADER, one_line, written

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.netsurfp import STATES, NetsurfpDataset, read_csv, read_flip
from plmdepth.proteins.tasks.raw import Entry
from plmdepth.proteins.tasks.task import Task

FLIP = {
    "sequences.fasta": ">1abc-A\nMKTVAC\n>2def-B\nACDE\n>3ghi-C\nWWUX\n",
    "sampled.fasta": (
        ">1abc-A SET=train VALIDATION=False\nCHHCEE\n>2def-B SET=train VALIDATION=True\nEEEC\n"
        ">3ghi-C SET=test VALIDATION=False\nHCCC\n"
    ),
    "mask.fasta": ">1abc-A\n011011\n>2def-B\n1111\n>3ghi-C\n1001\n",
}


def flip(folder: Path, **changed: str) -> tuple[dict[str, tuple[Entry, ...]], Counter[str]]:
    files = FLIP | {name.replace("_", "."): content for name, content in changed.items()}
    root, dropped = written(folder, files), Counter[str]()
    return read_flip(root / "sequences.fasta", root / "sampled.fasta", root / "mask.fasta", dropped), dropped


def spelled(entry: Entry, states: int = 3) -> str:
    return "".join("." if number < 0 else STATES[states][number] for number in entry.label)


def csv_row(text: str, dssp8: str, disorder: str = "", mask: str = "", spaced: bool = True) -> str:
    dssp3 = dssp8.translate(str.maketrans("GHIBESTC", "HHHEECCC"))
    between = " " if spaced else ""
    marks = [" ".join(f"{mark}.0" for mark in marks or "1" * len(text)) for marks in (disorder, mask)]
    return ",".join([*(between.join(part) for part in (text, dssp3, dssp8)), *marks]) + "\n"


def csv(folder: Path, *rows: str, states: int = 3, header: str = CSV_HEADER) -> tuple[list[Entry], Counter[str]]:
    dropped: Counter[str] = Counter()
    path = written(folder, {"rows.csv": header + "".join(rows)}) / "rows.csv"
    return list(read_csv(path, states, "cb513", dropped)), dropped


def test_flip_has_its_validation_in_train_and_a_test_of_its_own(tmp_path: Path) -> None:
    splits, _ = flip(tmp_path)
    assert {split: [entry.id for entry in entries] for split, entries in splits.items()} == {
        "train": ["1abc-A"],
        "valid": ["2def-B"],
        "test": ["3ghi-C"],
    }


def test_unresolved_residues_of_flip_are_not_scored_as_coil(tmp_path: Path) -> None:
    splits, dropped = flip(tmp_path)
    assert spelled(splits["train"][0]) == ".HH.EE"
    assert spelled(splits["valid"][0]) == "EEEC"
    assert spelled(splits["test"][0]) == "H..C"
    assert +dropped == {"train: residues that are not resolved": 2, "test: residues that are not resolved": 2}


def test_the_files_of_flip_may_be_in_another_order(tmp_path: Path) -> None:
    lines = FLIP["mask.fasta"].splitlines(keepends=True)
    assert spelled(flip(tmp_path, mask_fasta="".join(lines[4:] + lines[:4]))[0]["train"][0]) == ".HH.EE"


@pytest.mark.parametrize(
    ("changed", "content", "named"),
    [
        ("mask_fasta", ">1abc-A\n011\n", "differ in length (6, 6, 3)"),
        ("mask_fasta", ">1abc-A\n01?011\n", "'?' is neither 0 nor 1"),
        ("mask_fasta", ">other\n011\n", "differ in length (6, 6, 0)"),
        ("sampled_fasta", ">1abc-A SET=train VALIDATION=False\nCHH\n", "differ in length (6, 3, 6)"),
        ("sampled_fasta", ">1abc-A SET=train VALIDATION=False\nCHHXEE\n", "'X' is none of the states H, E, C"),
        ("sampled_fasta", ">1abc-A VALIDATION=False\nCHHCEE\n", "no header '>NAME SET=train"),
        ("sampled_fasta", ">other SET=train\nCHHCEE\n", "no header '>NAME SET=train"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, changed: str, content: str, named: str) -> None:
    with pytest.raises(InputError) as caught:
        flip(tmp_path, **{changed: content})
    assert "1abc-A" in one_line(caught)
    assert named in one_line(caught)


@pytest.mark.parametrize(
    ("marks", "split"),
    [
        *((f"SET=train VALIDATION={word}", "valid") for word in ("True", "TRUE", "true", "1", "yes", "Yes", "t")),
        *((f"SET=train VALIDATION={word}", "train") for word in ("False", "FALSE", "false", "0", "no")),
        ("SET=Train VALIDATION=False", "train"),
        ("SET=TRAIN VALIDATION=TRUE", "valid"),
        ("set=train validation=true", "valid"),
        ("SET=Test", "test"),
        ("SET=TEST VALIDATION=False", "test"),
    ],
)
def test_split_and_validation_are_read_in_any_spelling(tmp_path: Path, marks: str, split: str) -> None:
    splits, _ = flip(tmp_path, sampled_fasta=FLIP["sampled.fasta"].replace("SET=train VALIDATION=False", marks, 1))
    assert "1abc-A" in [entry.id for entry in splits[split]]


@pytest.mark.parametrize("marks", ["SET=train VALIDATION=maybe", "SET=train VALIDATION=", "SET=train", "SET=training"])
def test_what_is_no_spelling_of_a_split_is_refused(tmp_path: Path, marks: str) -> None:
    with pytest.raises(InputError, match="1abc-A"):
        flip(tmp_path, sampled_fasta=FLIP["sampled.fasta"].replace("SET=train VALIDATION=False", marks, 1))


@pytest.mark.parametrize("name", ["sequences.fasta", "sampled.fasta", "mask.fasta"])
def test_two_records_of_one_id_that_differ_are_refused_with_both_places(tmp_path: Path, name: str) -> None:
    other = FLIP[name].replace("2def-B", "1abc-A")
    with pytest.raises(InputError, match=rf"{name}: records 1 and 2 are both named 1abc-A and differ"):
        flip(tmp_path, **{name.replace(".", "_"): other})


def test_labels_without_a_sequence_are_counted(tmp_path: Path) -> None:
    _, dropped = flip(tmp_path, sampled_fasta=FLIP["sampled.fasta"] + ">4x SET=test VALIDATION=False\nHH\n")
    assert dropped["test: no sequence"] == 1


@pytest.mark.parametrize("spaced", [True, False])
@pytest.mark.parametrize(("states", "expected"), [(3, "HHHEECCC"), (8, "GHIBESTC")])
def test_a_row_may_be_spaced_or_not(tmp_path: Path, spaced: bool, states: int, expected: str) -> None:
    (entry,), _ = csv(tmp_path, csv_row("MKTVACDE", "GHIBESTC", spaced=spaced), states=states)
    assert (entry.id, entry.text) == ("cb513_00001", "MKTVACDE")
    assert spelled(entry, states) == expected


def test_column_names_without_spaces_are_read_too(tmp_path: Path) -> None:
    (entry,), _ = csv(tmp_path, csv_row("MK", "HC"), header=CSV_HEADER.replace(" ", ""))
    assert spelled(entry) == "HC"


def test_residues_that_are_disordered_or_masked_are_not_scored(tmp_path: Path) -> None:
    (entry,), dropped = csv(tmp_path, csv_row("MKTVA", "HHHHH", disorder="01101", mask="11001"))
    assert spelled(entry) == ".H..H"
    assert +dropped == {"cb513: residues that are not resolved": 2, "cb513: residues outside the published mask": 1}


def test_rows_of_one_sequence_are_one_protein_scored_where_any_is(tmp_path: Path) -> None:
    rows = [csv_row("MKTVA", "HHEEC", mask=mask) for mask in ("11000", "00010")]
    entries, dropped = csv(tmp_path, rows[0], csv_row("AC", "CC"), rows[1])
    assert [(entry.id, spelled(entry)) for entry in entries] == [("cb513_00001", "HH.E."), ("cb513_00002", "CC")]
    assert +dropped == {
        "cb513: row merged into an earlier one of the same sequence": 1,
        "cb513: residues outside the published mask": 2,
    }


@pytest.mark.parametrize("second", [csv_row("MK", "HE"), csv_row("MK", "HC", disorder="01")])
def test_rows_of_one_sequence_that_disagree_are_refused(tmp_path: Path, second: str) -> None:
    with pytest.raises(InputError) as caught:
        csv(tmp_path, csv_row("MK", "HC"), second)
    assert "row 2 has the sequence of row 1 and other labels" in one_line(caught)


@pytest.mark.parametrize("column", ["input", "dssp3", "dssp8", "disorder", "cb513_mask"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    with pytest.raises(InputError) as caught:
        csv(tmp_path, header=CSV_HEADER.replace(column, "other"))
    assert f"has no column {column};" in one_line(caught)


@pytest.mark.parametrize("row", ["M K,H,H,1.0 1.0,1.0 1.0\n", "M K,H H,H H,1.0,1.0 1.0\n", "M K,H H,H H,1.0 1.0,1.0\n"])
def test_columns_of_unlike_length_are_refused_with_their_row(tmp_path: Path, row: str) -> None:
    with pytest.raises(InputError) as caught:
        csv(tmp_path, csv_row("AC", "CC"), row)
    assert "row 2: sequence, labels and masks differ in length" in one_line(caught)


def test_an_unknown_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        csv(tmp_path, csv_row("MK", "HP"), states=8)
    assert "row 1: 'P' is none of the states" in one_line(caught)


def test_a_row_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        csv(tmp_path, "M K,H H\n")
    assert "row 1 has 2 fields, expected 5" in one_line(caught)


def test_a_mask_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        csv(tmp_path, "M K,H H,H H,x 1.0,1.0 1.0\n")
    assert "row 1, disorder: 'x' is neither 0 nor 1" in one_line(caught)


PUBLISHED = {
    "sequences.fasta": ">1a-A\nMKTV\n>2b-B\nACDE\n>3c-C\nWWUX\n",
    "sampled.fasta": (
        ">1a-A SET=train VALIDATION=False\nCHHC\n>2b-B SET=train VALIDATION=True\nEEEC\n"
        ">3c-C SET=test VALIDATION=False\nHCCC\n"
    ),
    "mask.fasta": ">1a-A\n0110\n>2b-B\n1111\n>3c-C\n1001\n",
}
IN_FOLDER = {f"flip_secondary_structure/{name}": content for name, content in PUBLISHED.items()}
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


@pytest.mark.parametrize("files", [PUBLISHED, IN_FOLDER])
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
