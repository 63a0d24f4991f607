"""From labelled records to a task, by the rules that every data set goes through."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from plmdepth.errors import InputError
from plmdepth.proteins.letters import UnusableRecordError, clean_letters
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.selection import ProteinSet, Rules, select
from plmdepth.proteins.tasks.raw import Entry, RawTask
from plmdepth.proteins.tasks.task import METRICS, Kind, Labelled, Task


def task_of(name: str, raw: RawTask, rules: Rules) -> Task:
    """Apply the rules to every split (a limit too) and let the labels follow.

    Raises:
        InputError: a record is refused by the rules, or a split has nothing left.
    """
    chosen = {split: _select(name, split, entries, rules) for split, entries in raw.entries.items()}
    skipped = Counter(f"{split}: {each.kind}" for split, kept in chosen.items() for each in kept.skipped)
    changes = {f"{split}: {kind}": n for split, kept in chosen.items() for kind, n in kept.changes.items()}
    tests = {protein.id for split, kept in chosen.items() if split == "test" for protein in kept.proteins}
    return Task(
        name=name,
        kind=raw.kind,
        classes=raw.classes,
        splits={split: _labelled(raw.kind, raw.entries[split], kept.proteins) for split, kept in chosen.items()},
        metrics=METRICS[raw.kind],
        subsets={subset: frozenset(ids & tests) for subset, ids in raw.subsets.items()},
        dropped=dict(sorted((Counter(raw.dropped) + skipped).items())),
        absent=dict(raw.absent),
        changes=changes,
        split=raw.split,
    )


def _select(name: str, split: str, entries: Sequence[Entry], rules: Rules) -> ProteinSet:
    try:
        return select(((entry.id, entry.text) for entry in entries), rules)
    except InputError as error:
        raise InputError(f"dataset={name}, split {split}: {error}") from error


def _labelled(kind: Kind, entries: Sequence[Entry], proteins: Sequence[Protein]) -> tuple[Labelled, ...]:
    by_id: dict[str, list[Entry]] = {}
    for entry in entries:
        by_id.setdefault(entry.id, []).append(entry)
    found = [next(entry for entry in by_id[protein.id] if _became(entry, protein)) for protein in proteins]
    return tuple(
        Labelled(protein, _residue_labels(entry, protein) if kind in ("residue", "residue_regression") else entry.label)
        for entry, protein in zip(found, proteins, strict=True)
    )


def _became(entry: Entry, protein: Protein) -> bool:
    """Say whether a record is the one that a protein was made from: an id may be there twice."""
    try:
        return clean_letters(entry.text).sequence[: len(protein)] == protein.sequence
    except UnusableRecordError:
        return False


def _residue_labels(entry: Entry, protein: Protein) -> np.ndarray:
    """Let the labels lose what the text has lost: white space, a closing stop, and the end that was cut off."""
    residues = np.array([not letter.isspace() for letter in entry.text])
    return entry.label[residues][: len(protein)]
