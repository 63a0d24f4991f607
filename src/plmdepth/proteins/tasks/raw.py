"""What a reader hands over: labelled records, before letters are checked and lengths are cut."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from plmdepth.errors import InputError
from plmdepth.proteins.tasks.task import NOT_SCORED, Kind

MAIN_SPLITS = ("train", "valid", "test")
"""Splits that every task has."""


class Entry(NamedTuple):
    """A record with its label, which has one value a character of the text where residues are labelled."""

    id: str
    text: str
    label: np.ndarray


@dataclass(frozen=True, eq=False)
class RawTask:
    """A task as its files have it; the attributes are those of `Task`, but for one.

    Attributes:
        missing: of a split, a sentence about records that have labels and no sequence.
    """

    kind: Kind
    classes: tuple[str, ...]
    entries: Mapping[str, tuple[Entry, ...]]
    subsets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    split: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


def without_sequence(split: str, ids: Sequence[str], known: Iterable[str]) -> dict[str, str]:
    """Return the sentence of `RawTask.missing` by its split, with another spelling of the first id if there is one.

    Args:
        split: the split.
        ids: those that have no sequence; if there are none, nothing is returned.
        known: those that have one.
    """
    if not ids:
        return {}
    alike = next((name for name in known if _bare(name) == _bare(ids[0])), None)
    hint = f" (there is {alike}: ids are compared letter by letter)" if alike else ""
    return {split: f"{len(ids)} ids of {split} have no sequence, first: {ids[0]}{hint}"}


def tidied(raw: RawTask) -> RawTask:
    """Drop what would falsify a score, count it, and list further tests that have nothing left.

    Dropped are proteins of which no residue is scored, and proteins of train and valid of which another split holds an
    exact copy (published splits do have some).
    """
    dropped = Counter(raw.dropped)
    scored = {split: _scored(raw.kind, split, entries, dropped) for split, entries in raw.entries.items()}
    apart = _apart(scored, dropped)
    empty = [split for split, entries in apart.items() if not entries and split not in MAIN_SPLITS]
    absent = {**raw.absent, **dict.fromkeys(empty, "none of its proteins has a label of this task")}
    order = [*MAIN_SPLITS, *(split for split in apart if split not in (*MAIN_SPLITS, *empty))]
    kept = {split: tuple(apart[split]) for split in order}
    return replace(raw, entries=kept, dropped=dict(+dropped), absent=absent)


def entries_of(raw: RawTask, split: str, option: str) -> tuple[Entry, ...]:
    """Return the entries of one split.

    Raises:
        InputError: there is no such split; the message says which there are.
    """
    if split in raw.entries:
        return raw.entries[split]
    why = f" is not there ({raw.absent[split]})" if split in raw.absent else ": there is no such split"
    raise InputError(f"dataset.split={split}{why}; {option} has {', '.join(raw.entries)}")


def letters_of(text: str) -> str:
    """Return the residues of a text for comparison: no formatting, upper case."""
    return "".join(text.split()).upper().removesuffix("*")


def _bare(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _scored(kind: Kind, split: str, entries: Iterable[Entry], dropped: Counter[str]) -> list[Entry]:
    everything = list(entries)
    if kind not in ("residue", "residue_regression"):
        return everything
    kept = [entry for entry in everything if (np.isfinite(entry.label) & (entry.label != NOT_SCORED)).any()]
    dropped[f"{split}: no residue is scored"] += len(everything) - len(kept)
    return kept


def _apart(scored: Mapping[str, list[Entry]], dropped: Counter[str]) -> dict[str, list[Entry]]:
    """Keep a sequence in tests before valid, and in valid before train."""
    apart = dict(scored)
    taken = {letters_of(entry.text) for split in scored if split not in ("train", "valid") for entry in scored[split]}
    for split in ("valid", "train"):
        entries = scored.get(split, [])
        apart[split] = [entry for entry in entries if letters_of(entry.text) not in taken]
        dropped[f"{split}: exact copy of a protein of another split"] += len(entries) - len(apart[split])
        taken |= {letters_of(entry.text) for entry in apart[split]}
    return apart
