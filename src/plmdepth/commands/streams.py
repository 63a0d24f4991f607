"""Output that no terminal fails at: what it cannot show becomes something plainer."""

import codecs
import sys
from io import TextIOWrapper

_PLAINER = {"•": "*", "±": "+-", "━": "-", "╸": "-", "╺": "-", "…": "...", "Å": "A"}
_HANDLER = "plmdepth.plainer"


def never_fail_at_a_letter() -> None:
    """Have letters that standard output and error cannot encode written in plainer ones, or by their number."""
    codecs.register_error(_HANDLER, _plainer)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _plainer(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    letters = error.object[error.start : error.end]
    shown = (_PLAINER.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in letters)
    return "".join(shown), error.end
