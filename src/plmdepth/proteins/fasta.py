"""Reading FASTA, plain or gzipped, one record at a time."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from biotite.sequence.io.fasta import FastaFile

from plmdepth.errors import InputError

_GZIP_MAGIC = b"\x1f\x8b"


def read_fasta(path: Path, option: str = "dataset.path") -> Iterator[tuple[str, str]]:
    """Yield (id, text) of every record; the id is the first word of its header.

    Args:
        path: the file.
        option: the configuration's name for it, for messages.

    Raises:
        InputError: the file is missing, is no text, is no FASTA, or holds no record.
    """
    for number, (header, text) in enumerate(read_headed(path, option), start=1):
        yield next(iter(header.split()), f"record_{number}"), text


def read_headed(path: Path, option: str = "dataset.path") -> Iterator[tuple[str, str]]:
    """Yield (whole header, text) of every record.

    Args:
        path: the file.
        option: the configuration's name for it, for messages.

    Raises:
        InputError: as `read_fasta`.
    """
    _check_readable(path, option)
    number = 0
    try:
        with _open_text(path) as file:
            _check_first_line(path, file)
            for number, (header, text) in enumerate(FastaFile.read_iter(file), start=1):  # noqa: B007 (counted)
                yield header, text
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is no text file (byte {error.start} of a block is not UTF-8); give a FASTA file"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is a damaged gzip file ({error}); fetch or compress it again") from error
    if number == 0:
        raise InputError(f"{path} holds no FASTA record; a record is a line '>name' followed by its sequence")


def _check_readable(path: Path, option: str) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder; give {option} a FASTA file")
    if not path.is_file():
        raise InputError(f"no such file: {path}; give {option} an existing FASTA file")


def _open_text(path: Path) -> TextIO:
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP_MAGIC
    return gzip.open(path, "rt", encoding="utf-8-sig") if compressed else path.open(encoding="utf-8-sig")


def _check_first_line(path: Path, file: TextIO) -> None:
    """Refuse text before the first header: the reader would drop it without a word."""
    first = next((line for line in file if line.strip() and not line.startswith(";")), ">")
    if not first.startswith(">"):
        shown = first.strip()[:30]
        raise InputError(f"{path} is no FASTA file: it begins with {shown!r}, expected a line that starts with '>'")
    file.seek(0)
