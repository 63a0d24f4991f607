"""Command lines that can be pasted: a value is quoted for Hydra, and the whole for the shell."""

import re
import shlex
from pathlib import Path

_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./:+@-]*")  # what Hydra's grammar reads as it is, wherever it stands

_OTHER = re.compile(r"null|true|false|nan|inf|[0-9_.]+(e[+-]?[0-9]+)?", re.IGNORECASE)  # no text


def quoted(value: str | Path) -> str:
    """Return a value as Hydra reads it back, quoted where its grammar would read something else.

    >>> quoted("a=b.fasta")
    '"a=b.fasta"'
    >>> quoted("plain/a.fasta")
    'plain/a.fasta'
    """
    text = str(value)
    if _PLAIN.fullmatch(text) and not _OTHER.fullmatch(text):
        return text
    # A quote is escaped, and so are backslashes before one; a dollar would begin an interpolation.
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', text.replace("${", r"\${"))
    return '"' + re.sub(r"(\\+)$", r"\1\1", escaped) + '"'


def command(script: str, **options: str | Path) -> str:
    r"""Return a command line that sets options; a dot in a key is written as two underscores.

    >>> command("analyze.py", lens="tuned", lens__path="my lens")
    'python analyze.py lens=tuned \'lens.path="my lens"\''
    """
    words = [f"{key.replace('__', '.')}={quoted(value)}" for key, value in options.items()]
    return shlex.join(["python", script, *words])
