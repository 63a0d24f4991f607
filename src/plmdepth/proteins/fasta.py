"""Reading FASTA, plain or gzipped, one record at a time.

Lines end in LF, CRLF or CR, and in nothing else. A line that begins with ``;`` is a comment. PIR files (``>P1;ID``, a
line of title, residues up to ``*``) are read as what they are. Where the first line of a record reads like the rest of
a header that was wrapped, it is marked as such, for `letters` to refuse.
"""

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from plmdepth.errors import InputError
from plmdepth.proteins.letters import HEADER_MARK
from plmdepth.proteins.text import not_utf8

_GZIP_MAGIC = b"\x1f\x8b"
_PIR = re.compile(r"(?:P1|F1|DL|DC|RL|RC|N1|N3|XX);\s*(?=\S)")
_AROUND = " \t\ufeff"


def read_fasta(path: Path, option: str = "dataset.path") -> Iterator[tuple[str, str]]:
    """Yield (id, text) of every record; the id is the first word of its header.

    Args:
        path: the file.
        option: the configuration's name for it, for messages.

    Raises:
        InputError: the file is missing, is no text, is no FASTA, or holds no record.
    """
    for number, (header, text) in enumerate(read_headed(path, option), start=1):
        yield first_word(header, number), text


def first_word(header: str, number: int) -> str:
    """Return the first word of a header, or a name for the record of this number."""
    return next(iter(header.split()), f"record_{number}")


def read_headed(path: Path, option: str = "dataset.path") -> Iterator[tuple[str, str]]:
    """Yield (whole header, text) of every record.

    Args:
        path: the file.
        option: the configuration's name for it, for messages.

    Raises:
        InputError: as `read_fasta`.
    """
    _check_readable(path, option)
    count = 0
    try:
        with _open_text(path) as file:
            for count, record in enumerate(_records(path, file), start=1):  # noqa: B007 (counted)
                yield record
    except UnicodeDecodeError as error:
        raise InputError(not_utf8(path, error, "a FASTA file")) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is a damaged gzip file ({error}); fetch or compress it again") from error
    if count == 0:
        raise InputError(f"{path} holds no FASTA record; a record is a line '>name' followed by its sequence")


def read_by_id(path: Path, option: str = "dataset.root") -> dict[str, tuple[str, str]]:
    """Return (header, text) of every record by the first word of its header.

    Raises:
        InputError: as `read_fasta`, or two records of one id are not the same.
    """
    found: dict[str, tuple[int, str, str]] = {}
    for number, (header, text) in enumerate(read_headed(path, option), start=1):
        name = first_word(header, number)
        first, *known = found.setdefault(name, (number, header, text))
        if known != [header, text]:
            raise InputError(
                f"{path}: records {first} and {number} are both named {name} and differ, so it is not known which of "
                "them belongs to it in other files; give each a name of its own or take one out"
            )
    return {name: (header, text) for name, (_, header, text) in found.items()}


def _check_readable(path: Path, option: str) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder; give {option} a FASTA file")
    if path.is_fifo() or path.is_char_device() or path.is_socket():
        raise InputError(f"{path} is a pipe and can be read once only; write it to a file and give {option} that")
    if not path.is_file():
        raise InputError(f"no such file: {path}; give {option} an existing FASTA file")


def _open_text(path: Path) -> TextIO:
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP_MAGIC
    return gzip.open(path, "rt", encoding="utf-8-sig") if compressed else path.open(encoding="utf-8-sig")


def _records(path: Path, file: TextIO) -> Iterator[tuple[str, str]]:
    header: str | None = None
    lines: list[str] = []
    for line in (raw.removesuffix("\n").strip(_AROUND) for raw in file):
        if line.startswith(">"):
            if header is not None:
                yield _record(header, lines)
            header, lines = line[1:].strip(), []
        elif line.startswith(";") or (header is None and not line):
            continue
        elif header is None:  # it would belong to no record
            raise InputError(
                f"{path} is no FASTA file: it begins with {line[:30]!r}, expected a line that starts with '>'"
            )
        else:
            lines.append(line)
    if header is not None:
        yield _record(header, lines)


def _record(header: str, lines: Sequence[str]) -> tuple[str, str]:
    written = [line for line in lines if line]
    if pir := _PIR.match(header):
        if written != ["".join(written[:1])] or not written[0].endswith("*"):  # the line of title may be missing
            header, written = f"{header} {lines[0] if lines else ''}", [line for line in lines[1:] if line]
        return header[pir.end() :], "".join(written).partition("*")[0]
    if _is_rest_of_header(written):
        return header, f"{HEADER_MARK}{written[0]}\n{''.join(written[1:])}"
    return header, "".join(written)


def _is_rest_of_header(lines: Sequence[str]) -> bool:
    """Say whether the first line is words where all other lines are residues in upper case.

    Residues in blocks have their spaces in every line, and lower case marks parts of any line.
    """
    if len(lines) < 2 or not all(line.isupper() and " " not in line for line in lines[1:]):
        return False
    words = lines[0].split()
    if len(words) > 1:
        uneven = any(len(word) != len(words[0]) for word in words[:-1]) or len(words[-1]) > len(words[0])
        return uneven or not all(word.isalpha() for word in words)
    return lines[0].islower() and len(lines[0]) < len(lines[1])
