from pathlib import Path

import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.text import lines_of
from tests.proteins.files import one_line


@pytest.mark.parametrize("content", [b"a\tb\t\nc\n", b"a\tb\t\r\nc\r\n", b"a\tb\t\nc", b"\xef\xbb\xbfa\tb\t\nc\n"])
def test_lines_are_the_same_whichever_system_wrote_them(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(content)
    assert lines_of(path) == ["a\tb\t", "c"]


def test_only_a_line_end_ends_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("a\x0bb\u2028c\n", encoding="utf-8")
    assert lines_of(path) == ["a\x0bb\u2028c"]


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").touch()
    assert lines_of(tmp_path / "a.tsv") == []


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(InputError) as caught:
        lines_of(tmp_path / "a.tsv")
    assert "a.tsv is no text file" in one_line(caught)
