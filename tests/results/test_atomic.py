import errno
import os
from pathlib import Path
from typing import Any

import pytest

from plmdepth.results.atomic import read_json, write_json, write_text


def _raising(error: BaseException) -> Any:
    def raise_it(*_: Any) -> None:
        raise error

    return raise_it


def test_text_is_written_as_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "note.txt", "κ = 0.1\n")
    assert (tmp_path / "note.txt").read_bytes() == b"\xce\xba = 0.1\n"


def test_writing_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    write_text(tmp_path / "note.txt", "one")
    write_text(tmp_path / "note.txt", "two")
    assert os.listdir(tmp_path) == ["note.txt"]  # noqa: PTH208 (hidden files count too)
    assert (tmp_path / "note.txt").read_text() == "two"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    write_text(tmp_path / "note.txt", "old")
    monkeypatch.setattr(os, "fsync", _raising(error))
    with pytest.raises(type(error)):
        write_text(tmp_path / "note.txt", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
    assert (tmp_path / "note.txt").read_text() == "old"


def test_a_failed_rename_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "replace", _raising(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match="Input/output error"):
        write_text(tmp_path / "note.txt", "new")
    assert list(tmp_path.iterdir()) == []


def test_json_comes_back_as_it_was(tmp_path: Path) -> None:
    content = {"scalars": {"ed_kl": 2.0, "ed_cosine": None}, "names": ["a", "b"], "n": 3}
    write_json(tmp_path / "result.json", content)
    assert read_json(tmp_path / "result.json") == content


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_refused_before_anything_is_written(tmp_path: Path, number: float) -> None:
    write_json(tmp_path / "result.json", {"value": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "result.json", {"value": number})
    assert read_json(tmp_path / "result.json") == {"value": 1.0}


def test_a_missing_file_reads_as_none(tmp_path: Path) -> None:
    assert read_json(tmp_path / "absent" / "status.json") is None


def test_a_path_below_a_file_reads_as_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert read_json(tmp_path / "file" / "status.json") is None


@pytest.mark.parametrize("content", [b"", b'{"state": "do', b"[1, 2]", b"\xff\xfe{}"])
def test_a_damaged_file_reads_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "status.json").write_bytes(content)
    assert read_json(tmp_path / "status.json") is None
