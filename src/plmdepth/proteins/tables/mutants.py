"""Sequences of mutants from what was substituted in their parent: ``A23T``, ``A23T:G40D``, ``WT``."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from plmdepth.errors import InputError
from plmdepth.proteins.fasta import read_fasta
from plmdepth.proteins.letters import UnusableRecordError, clean_letters

_SUBSTITUTION = re.compile(r"^([A-Za-z])(-?\d+)([A-Za-z])$")
_BETWEEN = re.compile(r"[:;,/+\s]+")
_WILD_TYPE = frozenset({"wt", "wildtype", "wild_type", "wild-type", "_wt", ""})


class Substitution(NamedTuple):
    """One residue for another.

    Attributes:
        before: the parent's residue.
        position: where, as the table counts.
        after: the mutant's residue.
    """

    before: str
    position: int
    after: str


@dataclass(frozen=True)
class Parent:
    """The sequence that mutants come from.

    Attributes:
        sequence: its residues.
        offset: what the table calls its first residue, less 1.
    """

    sequence: str
    offset: int = 0

    def mutated(self, substitutions: Sequence[Substitution]) -> str:
        """Return the sequence of a mutant; positions are known to fit."""
        letters = list(self.sequence)
        for _, position, after in substitutions:
            letters[position - 1 - self.offset] = after
        return "".join(letters)

    def fits(self, substitutions: Sequence[Substitution]) -> bool:
        """Say whether the parent has the residues that are substituted."""
        places = [(each.position - 1 - self.offset, each.before) for each in substitutions]
        return all(0 <= place < len(self.sequence) and self.sequence[place] == before for place, before in places)


def parse_mutant(text: str) -> tuple[Substitution, ...]:
    """Return the substitutions that a text names; none for the wild type.

    >>> parse_mutant("A23T:G40D")
    (Substitution(before='A', position=23, after='T'), Substitution(before='G', position=40, after='D'))

    Raises:
        ValueError: a part of it is no substitution.
    """
    if text.strip().lower() in _WILD_TYPE:
        return ()
    found = [_SUBSTITUTION.match(part) for part in _BETWEEN.split(text.strip())]
    if not all(found):
        raise ValueError(f"{text!r} is no substitution such as A23T or A23T:G40D")
    parts = (match.groups() for match in found if match)
    return tuple(Substitution(before.upper(), int(position), after.upper()) for before, position, after in parts)


def read_parent(text: str) -> str:
    """Return the parent's residues: of the one record of a FASTA file, or as they are typed.

    Raises:
        InputError: the file holds several records, or what is given is neither a file nor residues.
    """
    path = Path(text).expanduser()
    if path.is_file():
        records = list(read_fasta(path, "dataset.parent"))
        if len(records) != 1:
            raise InputError(f"dataset.parent={text} holds {len(records)} records; a parent is one sequence")
        text = records[0][1]
    try:
        return clean_letters(text).sequence
    except UnusableRecordError as error:
        raise InputError(f"dataset.parent={text[:40]} is neither a file nor a sequence: {error}") from error


def numbered_parent(sequence: str, mutants: Mapping[int, Sequence[Substitution]]) -> Parent:
    """Return a parent with the offset by which the numbers of mutants fit its letters.

    Args:
        sequence: the parent's residues.
        mutants: what every row substitutes, by the number of the row.

    Raises:
        InputError: no offset fits, or several do and none of them is 0.
    """
    if all(Parent(sequence).fits(mutant) for mutant in mutants.values()):
        return Parent(sequence)
    named = {each.position: each.before for mutant in mutants.values() for each in mutant}
    first, last = min(named), max(named)
    offsets = range(last - len(sequence), first)
    fitting = [
        offset
        for offset in offsets
        if all(sequence[position - 1 - offset] == before for position, before in named.items())
        and all(Parent(sequence, offset).fits(mutant) for mutant in mutants.values())
    ]
    if len(fitting) == 1:
        return Parent(sequence, fitting[0])
    if fitting:
        raise InputError(
            f"the numbers of the mutants fit dataset.parent at {len(fitting)} offsets; give the whole parent, "
            "numbered from 1"
        )
    row, wrong = _first_misfit(Parent(sequence), mutants)
    place = wrong.position - 1
    there = f"has {sequence[place]} there" if 0 <= place < len(sequence) else f"ends at {len(sequence)}"
    raise InputError(
        f"row {row}: {wrong.before}{wrong.position}{wrong.after} does not fit dataset.parent, which {there}, "
        "and no shift of the numbers makes all rows fit; give the parent of these mutants"
    )


def _first_misfit(parent: Parent, mutants: Mapping[int, Sequence[Substitution]]) -> tuple[int, Substitution]:
    return next((row, each) for row, mutant in mutants.items() for each in mutant if not parent.fits([each]))


def common_parent(sequences: Sequence[str]) -> str | None:
    """Return the commonest letter of every column where all sequences are mutants of one parent; else None.

    They are if all have one length and half of them differ from it in no more than a tenth of the columns.
    """
    if len(sequences) < 2 or len(set(map(len, sequences))) != 1:
        return None
    parent = "".join(Counter(column).most_common(1)[0][0] for column in zip(*sequences, strict=True))
    most = max(1, len(parent) // 10)
    near = sum(len(changed_positions(sequence, parent)) <= most for sequence in sequences)
    return parent if 2 * near >= len(sequences) else None


def changed_positions(sequence: str, parent: str) -> frozenset[int]:
    """Return where a mutant differs from its parent, from 0."""
    return frozenset(place for place, (a, b) in enumerate(zip(sequence, parent, strict=True)) if a != b)
