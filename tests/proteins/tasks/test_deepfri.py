from pathlib import Path
from typing import Any

import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.tasks.deepfri import read_annotation, read_deepfri, read_identity
from plmdepth.proteins.tasks.raw import RawTask

from .files import EC_ANNOTATION, EC_FILES, GO_ANNOTATION, one_line, written

EC = "nrPDB-EC_2020.04_"


def read(root: Path, name: str = "EC-numbers", **options: Any) -> RawTask:
    lists = {split: root / f"{EC}{split}.txt" for split in ("train", "valid", "test")}
    identity = root / f"{EC}test.csv"
    return read_deepfri(
        root / f"{EC}annot.tsv",
        root / f"{EC}sequences.fasta",
        lists,
        identity if identity.exists() else None,
        name,
        **options,
    )


def terms(raw: RawTask, split: str) -> dict[str, list[str]]:
    return {
        entry.id: [term for term, is_true in zip(raw.classes, entry.label, strict=True) if is_true]
        for entry in raw.entries[split]
    }


def annotation(folder: Path, content: str) -> Path:
    return written(folder, {"annot.tsv": content}) / "annot.tsv"


def test_terms_of_two_levels_are_classes_in_the_order_of_the_file(tmp_path: Path) -> None:
    raw = read(written(tmp_path, EC_FILES))
    assert raw.kind == "multilabel"
    assert raw.classes == ("3.2.2.-", "3.2.2.1", "1.1.1.-", "7.1.1.9")


def test_a_chain_may_have_several_terms_of_several_first_levels(tmp_path: Path) -> None:
    raw = read(written(tmp_path, EC_FILES))
    assert terms(raw, "train") == {"1AAA-A": ["3.2.2.-", "3.2.2.1"], "1BBB-B": ["1.1.1.-"]}
    assert terms(raw, "valid") == {"1CCC-C": ["3.2.2.-", "1.1.1.-"]}
    assert [(entry.id, entry.text) for entry in raw.entries["test"]] == [("1DDD-D", "MKLLLLLL"), ("1EEE-E", "WWYY")]


def test_identity_cut_offs_are_subsets_of_test_chains(tmp_path: Path) -> None:
    subsets = read(written(tmp_path, EC_FILES)).subsets
    assert list(subsets) == [f"identity_{cut}" for cut in (30, 40, 50, 70, 95)]
    assert subsets["identity_30"] == subsets["identity_40"] == {"1EEE-E"}
    assert subsets["identity_50"] == {"1DDD-D", "1EEE-E"}


def test_a_chain_without_sequence_or_annotation_is_left_out_and_counted(tmp_path: Path) -> None:
    files = EC_FILES | {f"{EC}train.txt": "1AAA-A\n9ZZZ-Z\n\n8YYY-Y\r\n", f"{EC}test.csv": "PDB-chain,<30%\n1EEE-E,1\n"}
    files[f"{EC}sequences.fasta"] += ">8YYY-Y\nMKK\n"
    raw = read(written(tmp_path, files))
    assert list(terms(raw, "train")) == ["1AAA-A"]
    assert raw.dropped == {"train: no sequence": 1, "train: no row of annotation": 1}


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("molecular_function", 2, {"1AAA-A": ["GO:0000001"], "1BBB-B": ["GO:0000002"]}),
        ("biological_process", 1, {"1AAA-A": ["GO:0000003"]}),
        ("cellular_component", 2, {"1AAA-A": ["GO:0000005"]}),
    ],
)
def test_branches_of_go_are_columns(tmp_path: Path, name: str, classes: int, expected: dict[str, list[str]]) -> None:
    raw = read(written(tmp_path, EC_FILES | {f"{EC}annot.tsv": GO_ANNOTATION}), f"GO-terms ({name})")
    assert len(raw.classes) == classes
    assert terms(raw, "train") == expected
    assert raw.dropped.get(f"train: no term of GO-terms ({name})", 0) == 2 - len(expected)


def test_a_row_whose_empty_fields_were_cut_off_has_no_term_of_them(tmp_path: Path) -> None:
    found = read_annotation(annotation(tmp_path, GO_ANNOTATION), "GO-terms (cellular_component)")
    assert found.chains == {"1AAA-A": {"GO:0000005"}, "1BBB-B": set(), "1CCC-C": set()}


def test_chains_without_a_term_can_be_kept_as_negatives(tmp_path: Path) -> None:
    root = written(tmp_path, EC_FILES | {f"{EC}annot.tsv": GO_ANNOTATION})
    raw = read(root, "GO-terms (biological_process)", keep_unannotated=True)
    assert terms(raw, "train") == {"1AAA-A": ["GO:0000003"], "1BBB-B": []}


def test_two_rows_of_a_chain_are_united(tmp_path: Path) -> None:
    found = read_annotation(annotation(tmp_path, EC_ANNOTATION + "1AAA-A\t7.1.1.9\n"), "EC-numbers")
    assert found.chains["1AAA-A"] == {"3.2.2.-", "3.2.2.1", "7.1.1.9"}


def test_foreign_line_ends_are_no_part_of_a_term(tmp_path: Path) -> None:
    path = annotation(tmp_path, "")
    path.write_bytes(EC_ANNOTATION.replace("\n", "\r\n").encode())
    found = read_annotation(path, "EC-numbers")
    assert found.terms[-1] == "7.1.1.9"
    assert found.chains["1BBB-B"] == {"1.1.1.-"}


@pytest.mark.parametrize("content", ["", GO_ANNOTATION, "### EC-numbers\n1.1.1.-\n1AAA-A\t1.1.1.-\n"])
def test_a_file_without_the_terms_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError) as caught:
        read_annotation(annotation(tmp_path, content), "EC-numbers")
    assert "annot.tsv is no annotation of EC-numbers" in one_line(caught)


def test_a_term_that_the_heading_does_not_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_annotation(annotation(tmp_path, EC_ANNOTATION + "1FFF-F\t9.9.9.9\n"), "EC-numbers")
    assert "1FFF-F has 9.9.9.9, which is not among the 4 terms" in one_line(caught)


@pytest.mark.parametrize("content", ["", "PDB-chain\n1AAA-A\n", "chain,<30%\n1AAA-A,1\n"])
def test_a_file_without_cut_offs_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError) as caught:
        read_identity(written(tmp_path, {"test.csv": content}) / "test.csv")
    assert "identity cut-offs" in one_line(caught)
