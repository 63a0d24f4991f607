import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.text import TextDataset

PASSAGES = ["The first passage.", "A second one,\nof two lines.", "Märchen, third."]


def dataset(path: Path, **options: object) -> TextDataset:
    return TextDataset(name="text", path=str(path), **options)  # type: ignore[arg-type]


def written(folder: Path, kind: str, field: str = "text") -> Path:
    path = folder / f"passages.{kind}"
    lines = "\n".join(json.dumps({"title": "x", field: text}) for text in PASSAGES)
    plain = "\n\n\n".join(PASSAGES)
    if kind == "parquet":
        pq.write_table(pa.table({"title": ["x"] * 3, field: PASSAGES}), path)
    elif kind.endswith(".gz"):
        path.write_bytes(gzip.compress((lines if kind == "jsonl.gz" else plain).encode()))
    else:
        path.write_text(lines if kind == "jsonl" else plain, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet", "txt", "txt.gz"])
def test_passages_of_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    found = dict(dataset(written(tmp_path, kind)).records())
    expected = PASSAGES if "txt" not in kind else [text.replace("\n", " ") for text in PASSAGES]
    assert found == {str(number): text for number, text in enumerate(expected, 1)}


def test_windows_hold_every_word_once(tmp_path: Path) -> None:
    found = list(dataset(written(tmp_path, "jsonl"), words=2).records())
    assert found[:4] == [("1.1", "The first"), ("1.2", "passage."), ("2.1", "A second"), ("2.2", "one, of")]
    assert " ".join(text for _, text in found).split() == " ".join(PASSAGES).split()


def test_another_field_and_a_seeded_limit(tmp_path: Path) -> None:
    path = written(tmp_path, "jsonl", field="body")
    whole = [each.sequence for each in dataset(path, field="body").proteins(512, seed=3).proteins]
    assert sorted(whole) == sorted(PASSAGES)
    assert [each.sequence for each in dataset(path, field="body", limit=2).proteins(512, seed=3).proteins] == whole[:2]


def test_empty_and_equal_passages_are_left_out_and_named(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in ("one", " ", "one", "two")))
    found = dataset(path).proteins(512, seed=0)
    assert {each.sequence for each in found.proteins} == {"one", "two"}
    assert [(each.id, each.reason) for each in found.skipped] == [("2", "empty passage"), ("3", "duplicate passage")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"{", "line 1: no JSON"),
        ("a.jsonl", b'{"title": "x"}', "line 1 has no text in 'text'; give dataset.field=NAME"),
        ("a.jsonl", b"[1]", "line 1 has no text"),
        ("a.jsonl", b'{"text": 3}', "line 1 has no text"),
        ("a.parquet", b"no parquet", "cannot read it"),
        ("a.txt.gz", b"not zipped", "cannot read it"),
        ("a.txt", b"\xff\xfe", "cannot read it"),
        ("a.txt", b"\n\n", "holds no passage"),
    ],
)
def test_a_file_that_is_no_text_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as raised:
        dataset(path).proteins(512, seed=0)
    assert "\n" not in str(raised.value)


def test_a_missing_file_and_a_missing_column_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read it"):
        dataset(tmp_path / "none.txt").proteins(512, seed=0)
    with pytest.raises(InputError, match="text"):
        dataset(written(tmp_path, "parquet", field="body")).proteins(512, seed=0)


def test_windows_of_no_words_are_refused() -> None:
    with pytest.raises(InputError, match=r"dataset\.words=0"):
        dataset(Path("x"), words=0)
