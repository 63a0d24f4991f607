"""From labelled records to a task, by the rules that every data set goes through."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from plmdepth.errors import InputError
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.selection import ProteinSet, Rules, select
from plmdepth.proteins.tasks.raw import Entry, RawTask
from plmdepth.proteins.tasks.task import METRICS, Kind, Labelled, Task


def task_of(name: str, raw: RawTask, rules: Rules) -> Task:
    """Apply the rules to every split (a limit too) and let the labels follow.

    Raises:
        InputError: a record is refused by the rules, or a split has nothing left.
    """
    chosen = {split: chosen_of(name, split, raw, rules) for split in raw.entries}
    skipped = Counter(f"{split}: {each.kind}" for split, kept in chosen.items() for each in kept.skipped)
    changes = {f"{split}: {kind}": n for split, kept in chosen.items() for kind, n in kept.changes.items()}
    tests = {protein.id for split, kept in chosen.items() if split == "test" for protein in kept.proteins}
    return Task(
        name=name,
        kind=raw.kind,
        classes=raw.classes,
        splits={split: _labelled(raw.kind, raw.entries[split], kept) for split, kept in chosen.items()},
        metrics=METRICS[raw.kind],
        subsets={subset: frozenset(ids & tests) for subset, ids in raw.subsets.items()},
        dropped=dict(sorted((Counter(raw.dropped) + skipped).items())),
        absent=dict(raw.absent),
        changes=changes,
        notes=(*raw.missing.values(), *(f"{split}: {note}" for split, kept in chosen.items() for note in kept.notes)),
        split=raw.split,
    )


def chosen_of(name: str, split: str, raw: RawTask, rules: Rules) -> ProteinSet:
    """Apply the rules to one split.

    Raises:
        InputError: a record is refused by the rules, or nothing is left.
    """
    try:
        return select(((entry.id, entry.text) for entry in raw.entries[split]), rules)
    except InputError as error:
        why = f"; {raw.missing[split]}" if split in raw.missing else ""
        raise InputError(f"dataset={name}, split {split}: {error}{why}") from error


def _labelled(kind: Kind, entries: Sequence[Entry], chosen: ProteinSet) -> tuple[Labelled, ...]:
    found = ((entries[place], protein) for place, protein in zip(chosen.places, chosen.proteins, strict=True))
    return tuple(
        Labelled(protein, _residue_labels(entry, protein) if kind in ("residue", "residue_regression") else entry.label)
        for entry, protein in found
    )


def _residue_labels(entry: Entry, protein: Protein) -> np.ndarray:
    """Let the labels lose what the text has lost: white space, a closing stop, and the end that was cut off."""
    residues = np.array([not letter.isspace() for letter in entry.text])
    return entry.label[residues][: len(protein)]
