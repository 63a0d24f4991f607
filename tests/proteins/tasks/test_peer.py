from pathlib import Path

import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.tasks.peer import read_peer

from .files import one_line, written

CLASSES = ("zero", "one", "two")


def test_rows_are_named_after_split_and_number(tmp_path: Path) -> None:
    root = written(
        tmp_path, {"a.csv": "prot_seq,localization\nMKTV,2\nAC,0\n", "b.csv": "id,localization,prot_seq\n7, 1 ,GG\n"}
    )
    raw = read_peer({"train": root / "a.csv", "test": root / "b.csv"}, CLASSES)
    assert raw.classes == CLASSES
    assert [(e.id, e.text, int(e.label)) for e in raw.entries["train"]] == [
        ("train_00001", "MKTV", 2),
        ("train_00002", "AC", 0),
    ]
    assert [(e.id, e.text, int(e.label)) for e in raw.entries["test"]] == [("test_00001", "GG", 1)]


@pytest.mark.parametrize("header", ["", "sequence,localization\n", "prot_seq,label\n"])
def test_other_columns_are_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(InputError) as caught:
        read_peer({"train": written(tmp_path, {"a.csv": header}) / "a.csv"}, CLASSES)
    assert "a.csv should have the columns prot_seq and localization" in one_line(caught)


@pytest.mark.parametrize("label", ["3", "-1", "Nucleus", ""])
def test_a_label_that_is_no_class_is_refused_with_its_row(tmp_path: Path, label: str) -> None:
    root = written(tmp_path, {"a.csv": f"prot_seq,localization\nMK,0\nAC,{label}\n"})
    with pytest.raises(InputError) as caught:
        read_peer({"train": root / "a.csv"}, CLASSES)
    assert f"a.csv, row 2: localization is {label!r}, expected 0 to 2" in one_line(caught)
