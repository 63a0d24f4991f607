"""What the letters of a record become before any tokeniser sees them.

The policy, in full. Counted changes: white space inside a sequence is formatting and dropped; lower case is read as
upper case; one closing ``*`` (a stop codon) is dropped. Kept as they are, but never targets: U, O, B, Z, X, J (a family
that cannot spell one reads X). A record with anything else (a gap ``-`` or ``.``, an inner ``*``, a digit), with no
letter at all, or whose first line reads like the rest of a header is not a protein: it is skipped and listed with the
reason. Nucleotides are letters of amino acids too: a set that is made of them is noted.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from plmdepth.proteins.protein import CANONICAL

NONCANONICAL = "UOBZXJ"
HEADER_MARK = ">"
"""What a record's text begins with where its first line reads like the rest of a header; no sequence begins so."""

_RESIDUES = frozenset(CANONICAL + NONCANONICAL)
_NUCLEOTIDES = frozenset("ACGTUN")
_NAMES = {"-": "the gap '-'", ".": "the gap '.'", "*": "the stop '*' inside the sequence"}


class UnusableRecordError(ValueError):
    """A record that is no protein; the message says why."""


@dataclass(frozen=True)
class Cleaned:
    """A sequence in upper case without formatting, and how many letters were changed in which way."""

    sequence: str
    changes: Counter[str]


def clean_letters(text: str) -> Cleaned:
    """Return the residues that a record's text stands for.

    A text that begins with ``>`` has the rest of its header in its first line (see `fasta`).

    >>> clean_letters("mkT v*").sequence
    'MKTV'

    Raises:
        UnusableRecordError: the text is empty or holds a character that is no residue.
    """
    if text.startswith(HEADER_MARK):
        title = text.partition("\n")[0].removeprefix(HEADER_MARK)
        raise UnusableRecordError(f"its first line reads like the rest of a header ({title[:30]!r})")
    compact = "".join(text.split())
    body = compact.removesuffix("*")
    # ASCII alone: other scripts have letters that turn into ours, or grow, in upper case.
    sequence = "".join(letter.upper() if letter.isascii() else letter for letter in body)
    if not sequence:
        raise UnusableRecordError("empty sequence")
    for position, letter in enumerate(sequence, start=1):
        if letter not in _RESIDUES:
            raise UnusableRecordError(f"{_NAMES.get(letter, repr(letter))} is no residue (position {position})")
    changes = Counter(
        {
            "white space dropped": len(text) - len(compact),
            "closing stop dropped": len(compact) - len(body),
            "lower case raised": sum(a != b for a, b in zip(body, sequence, strict=True)),
        }
    )
    return Cleaned(sequence, +changes)


def nucleotide_notes(sequences: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence where nine of ten sequences hold the letters of nucleotides alone, else nothing."""
    count = sum(set(sequence) <= _NUCLEOTIDES for sequence in sequences)
    if not sequences or 10 * count < 9 * len(sequences):
        return ()
    return (
        f"{count} of {len(sequences)} sequences hold no letter but A, C, G, T, U and N: if these are nucleotides, "
        "translate them first, for they were read as amino acids",
    )
