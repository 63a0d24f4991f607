"""Reading a table, whatever format it is in: CSV, TSV, parquet, JSON lines or FASTA with ``key=value`` headers."""

import gzip
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import pyarrow as pa

from plmdepth.errors import InputError
from plmdepth.proteins.fasta import read_headed

_SEPARATORS = ",\t;|"
_ATTRIBUTE = re.compile(r"^(\w+)=(.*)$")
_MISSING = frozenset({"", "nan", "na", "n/a", "none", "null"})


def read_table(path: Path) -> pd.DataFrame:
    """Return the rows of a table; every value is text, a number, a list, or None where it is missing.

    A row's index is its number, from 1: in CSV and TSV the first row is the one below the header. Headers of FASTA
    records become columns: ``id`` is the first word, every ``KEY=VALUE`` a column, and ``sequence`` is the record.

    Args:
        path: the file; its ending says what it is, ``.gz`` behind it that it is compressed.

    Raises:
        InputError: the file is missing, damaged, empty, or of no format that is read.
    """
    if not path.exists():
        raise InputError(f"no such file: {path}; give dataset.path a table")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give dataset.path a table")
    kind = Path(path.name.lower().removesuffix(".gz")).suffix
    if kind not in _READERS:
        raise InputError(f"{path}: unknown ending {kind or path.name}; a table is one of {', '.join(_READERS)} (.gz)")
    with _one_line(path):
        frame = _READERS[kind](path)
    if frame.empty:
        raise InputError(f"{path} has no rows below its header")
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    if repeated := frame.columns[frame.columns.duplicated()].tolist():
        raise InputError(f"{path} has two columns {repeated[0]!r}; rename one of them")
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Say in one line what is wrong with a file."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start}); save it again as UTF-8") from error
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{path} is empty; a table has a header and rows") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is a damaged gzip file ({error}); fetch or compress it again") from error
    except (pd.errors.ParserError, pa.ArrowInvalid, ValueError) as error:
        raise InputError(f"cannot read {path}: {str(error).strip().splitlines()[0].rstrip('.')}") from error


def is_missing(value: Any) -> bool:
    """Say whether a value of a table says nothing: it is empty, NaN, or one of the usual words for that."""
    if value is None:
        return True
    if isinstance(value, str):
        return value.strip().lower() in _MISSING
    return isinstance(value, float) and value != value  # noqa: PLR0124 (NaN)


def _read_separated(path: Path) -> pd.DataFrame:
    """Read text with separators as text alone: what a label is, is decided later and by all rows."""
    usual: dict[str, Any] = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
    # A row with more fields than the header would otherwise turn its first column into an index.
    separator = max(_SEPARATORS, key=_first_line(path).count)
    return pd.read_csv(path, sep=separator, index_col=False, on_bad_lines="error", **usual)


def _first_line(path: Path) -> str:
    with path.open("rb") as raw, gzip.open(raw) if path.name.lower().endswith(".gz") else raw as file:
        return file.readline().decode("utf-8-sig")


def _read_json_lines(path: Path) -> pd.DataFrame:
    return pd.read_json(path, lines=True, dtype=False, encoding="utf-8").astype(object)


def _read_parquet(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path).astype(object)


def _read_fasta(path: Path) -> pd.DataFrame:
    """Read headers as biotrainer writes them, ``>ID TARGET=value SET=train VALIDATION=False``."""
    rows: list[dict[str, str]] = []
    for number, (header, text) in enumerate(read_headed(path), start=1):
        words = header.split()
        found = {match[1]: match[2] for word in words if (match := _ATTRIBUTE.match(word))}
        plain = [word for word in words if not _ATTRIBUTE.match(word)]
        rows.append({"id": plain[0] if plain else f"record_{number}", "sequence": text, **found})
    return pd.DataFrame(rows).astype(object)


_READERS: Mapping[str, Callable[[Path], pd.DataFrame]] = MappingProxyType(
    {
        **dict.fromkeys((".csv", ".tsv", ".tab", ".txt"), _read_separated),
        **dict.fromkeys((".parquet", ".pq"), _read_parquet),
        **dict.fromkeys((".jsonl", ".ndjson", ".json"), _read_json_lines),
        **dict.fromkeys((".fasta", ".fa", ".faa"), _read_fasta),
    }
)
