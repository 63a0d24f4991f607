from collections import Counter
from pathlib import Path

import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.tasks.netsurfp import STATES, read_csv, read_flip
from plmdepth.proteins.tasks.raw import Entry

from .files import CSV_HEADER, one_line, written

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
