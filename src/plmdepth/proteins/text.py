"""Reading small text files and tables: lines, columns in any spelling, and what is true or false."""

import csv
from collections.abc import Iterator
from pathlib import Path

from plmdepth.errors import InputError

_TRUE, _FALSE = ("1", "1.0", "true", "t", "yes", "y"), ("0", "0.0", "false", "f", "no", "n")


def lines_of(path: Path) -> list[str]:
    """Return the lines without their ends, whichever system wrote them; only LF, CRLF and CR end a line.

    Raises:
        InputError: the file is no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # universal newlines: every end becomes \n
    except UnicodeDecodeError as error:
        raise InputError(not_utf8(path, error, "text")) from error
    return text.removesuffix("\n").split("\n") if text else []


def not_utf8(path: Path, error: UnicodeDecodeError, wanted: str) -> str:
    """Return what to say of a file that is not UTF-8: another encoding of text, or no text at all.

    Args:
        path: the file.
        error: what was wrong.
        wanted: what it should be.
    """
    block = error.object
    where = f"byte 0x{block[error.start]:02x} of a block at {error.start} is not UTF-8"
    if any(byte < 32 and byte not in b"\t\n\v\f\r" for byte in block[:4096]) or block[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return f"{path} is no text file ({where}); give {wanted} in UTF-8"
    return f"{path} is no text file in UTF-8 ({where}); re-encode it as UTF-8: iconv -f LATIN1 -t UTF-8 FILE > NEW"


def rows_of(path: Path, columns: tuple[str, ...], what: str = "") -> Iterator[tuple[str, dict[str, str]]]:
    """Yield every row of a CSV file with where it stands, its fields by the lower case of their columns' names.

    Args:
        path: the file, with a line of names.
        columns: what must be there, in any case; more is welcome.
        what: what the file should be, for messages.

    Raises:
        InputError: a column is missing or there twice, or a row has more or fewer fields than there are columns.
    """
    rows = csv.reader(lines_of(path), skipinitialspace=True)
    names = [name.strip().lower() for name in next(rows, [])]
    if missing := [name for name in columns if names.count(name.lower()) != 1]:
        expected = what or f"expected {', '.join(columns)}"
        raise InputError(f"{path} has no column {missing[0]}; {expected}, each once")
    for number, fields in enumerate(filter(None, rows), start=1):
        place = f"{path}, row {number}"
        if len(fields) != len(names):
            raise InputError(f"{place} has {len(fields)} fields, expected {len(names)}")
        yield place, dict(zip(names, (value.strip() for value in fields), strict=True))


def truth_of(value: str, place: str) -> bool:
    """Return what ``true``, ``1``, ``yes`` and their like say, in any case.

    Raises:
        InputError: it is neither true nor false.
    """
    word = value.strip().lower()
    if word not in _TRUE + _FALSE:
        raise InputError(f"{place}: {value[:20]!r} is neither 0 nor 1, true nor false, yes nor no")
    return word in _TRUE
