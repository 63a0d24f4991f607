"""Tables are read whatever format they are in; what is wrong with a file is one line."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.tables.reading import is_missing, read_table

ROWS = [("a", "MKTV", "0.5"), ("b", "MKTW", ""), ("c", "MKTY", "1.5")]


def _csv(separator: str = ",") -> str:
    return "\n".join([separator.join(("id", "sequence", "label")), *(separator.join(row) for row in ROWS)]) + "\n"


def _written(folder: Path, name: str) -> Path:
    path = folder / name
    kind = Path(name.removesuffix(".gz")).suffix
    frame = pd.DataFrame(ROWS, columns=["id", "sequence", "label"])
    text = {
        ".csv": _csv(),
        ".tsv": _csv("\t"),
        ".txt": _csv(";"),
        ".jsonl": "\n".join(json.dumps(row) for row in frame.to_dict("records")),
        ".fasta": "".join(f">{i} LABEL={y} SET=train\n{s}\n" for i, s, y in ROWS),
    }
    if kind == ".parquet":
        frame.to_parquet(path)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(text[kind].encode()))
    else:
        path.write_text(text[kind])
    return path


@pytest.mark.parametrize(
    "name",
    ["t.csv", "t.CSV", "t.csv.gz", "t.tsv", "t.txt", "t.jsonl", "t.jsonl.gz", "t.parquet", "t.fasta", "t.fasta.gz"],
)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    path = _written(tmp_path, name.lower())
    frame = read_table(path.rename(tmp_path / name))
    frame.columns = [str(column).lower() for column in frame.columns]
    assert list(frame.index) == [1, 2, 3]
    found = list(zip(frame["id"], frame["sequence"], frame["label"], strict=True))
    assert found == ROWS


@pytest.mark.parametrize("value", [None, "", " ", "nan", "NaN", "NA", "None", float("nan")])
def test_what_says_nothing_is_missing(value: object) -> None:
    assert is_missing(value)


@pytest.mark.parametrize("value", ["0", 0, False, "Nancy", "N", []])
def test_what_says_something_is_not_missing(value: object) -> None:
    assert not is_missing(value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b"id,sequence,label\n", "no rows"),
        ("t.csv", b"id,sequence,label\na,MK,1\nb,MK,1,2\n", "cannot read"),
        ("t.csv", "id,sequence,label\na,MK,caf\xe9\n".encode("latin-1"), "UTF-8"),
        ("t.csv.gz", b"id,sequence\n", "gzip"),
        ("t.parquet", b"no parquet", "cannot read"),
        ("t.jsonl", b"{'a': 1}", "cannot read"),
        ("t.xlsx", b"", "unknown ending .xlsx"),
    ],
)
def test_a_bad_file_is_one_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as refused:
        read_table(path)
    assert "\n" not in str(refused.value)


def test_no_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_table(tmp_path / "missing.csv")
    with pytest.raises(InputError, match="is a folder"):
        read_table(tmp_path)
