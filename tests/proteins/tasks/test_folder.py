from pathlib import Path

import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.tasks.folder import Folder
from tests.proteins.files import one_line, written


def folder(root: Path, downloadable: bool = False) -> Folder:
    return Folder(root, "ec", ("a_annot.tsv", "a_train.txt"), downloadable)


def test_the_exact_name_wins_over_a_pattern(tmp_path: Path) -> None:
    written(tmp_path, {"a_annot.tsv": "", "b_annot.tsv": ""})
    assert folder(tmp_path).find("a_annot.tsv", "*annot.tsv") == tmp_path / "a_annot.tsv"


def test_a_pattern_finds_the_one_file_that_fits(tmp_path: Path) -> None:
    written(tmp_path, {"sgd_annot.tsv": "", "other.txt": ""})
    assert folder(tmp_path).find("a_annot.tsv", "*annot.tsv") == tmp_path / "sgd_annot.tsv"


def test_a_pattern_that_several_files_fit_is_refused(tmp_path: Path) -> None:
    written(tmp_path, {"b_annot.tsv": "", "c_annot.tsv": ""})
    with pytest.raises(InputError) as caught:
        folder(tmp_path).find("a_annot.tsv", "*annot.tsv")
    assert "b_annot.tsv, c_annot.tsv" in one_line(caught)


def test_a_missing_file_is_named_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        folder(tmp_path).find("a_annot.tsv", "*annot.tsv")
    assert one_line(caught) == (
        f"dataset=ec: no a_annot.tsv in {tmp_path}; dataset.root should hold a_annot.tsv, a_train.txt"
    )


def test_a_missing_file_that_can_be_fetched_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        folder(tmp_path, downloadable=True).find("a_annot.tsv")
    assert one_line(caught).endswith("; dataset.download=true fetches what is missing")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        folder(tmp_path / "nowhere").find("a_annot.tsv")
    assert f"no a_annot.tsv: no such folder {tmp_path / 'nowhere'}" in one_line(caught)


def test_an_optional_file_may_be_missing(tmp_path: Path) -> None:
    assert folder(tmp_path).find_if_there("a_test.csv") is None


def test_a_folder_with_the_name_of_a_file_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a_annot.tsv").mkdir()
    assert folder(tmp_path).find_if_there("a_annot.tsv") is None
