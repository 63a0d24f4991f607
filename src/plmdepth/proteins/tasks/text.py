"""Reading the lines of small text files."""

from pathlib import Path

from plmdepth.errors import InputError


def lines_of(path: Path) -> list[str]:
    """Return the lines without their ends, whichever system wrote them; only a line end ends a line.

    Raises:
        InputError: the file is no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # universal newlines: every end becomes \n
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text file (byte {error.start} is not UTF-8)") from error
    return text.removesuffix("\n").split("\n") if text else []
