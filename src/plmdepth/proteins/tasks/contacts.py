"""Contacts: the pairs of residues of a protein that touch, and the splits in which they are learnt and scored."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plmdepth.errors import InputError
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.selection import ProteinSet
from plmdepth.proteins.tasks.raw import letters_of
from plmdepth.randomness import keyed_generator

CUTOFF = 8.0
"""C-beta closer than this, in Angstrom, are in contact."""


class Pairs(NamedTuple):
    """Pairs of residues i < j, each array ``[pair]``, in the order of (i, j).

    Attributes:
        first: i, from 0.
        second: j.
        separation: how much further along the chain j stands than i; residues that are not resolved count.
        contact: whether the two are in contact.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    separation: NDArray[np.int64]
    contact: NDArray[np.bool_]

    def at(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Pairs":
        """Return some of the pairs, by a mask or by their indices."""
        return Pairs(self.first[chosen], self.second[chosen], self.separation[chosen], self.contact[chosen])


@dataclass(frozen=True, eq=False)
class ContactProtein:
    """A protein with its contacts.

    Attributes:
        protein: what a model reads; residues that are not resolved are not in it.
        contacts: residues in contact, int64 ``[contact, 2]``, from 0, first < second.
        known: whether it is known where a residue is, bool ``[residue]``; a pair with one that is not is no pair.
        places: where a residue stands along the chain, int64 ``[residue]``, always rising.
    """

    protein: Protein
    contacts: NDArray[np.int64]
    known: NDArray[np.bool_]
    places: NDArray[np.int64]

    def pairs(self, least: int) -> Pairs:
        """Return all pairs of known residues whose separation is at least ``least``."""
        length = len(self.protein)
        first, second = np.triu_indices(length, 1)
        touching = np.zeros((length, length), dtype=bool)
        touching[self.contacts[:, 0], self.contacts[:, 1]] = True
        separation = self.places[second] - self.places[first]
        everything = Pairs(first, second, separation, touching[first, second])
        return everything.at(self.known[first] & self.known[second] & (separation >= least))

    def cut_to(self, protein: Protein) -> "ContactProtein":
        """Return the contacts of the first residues: the protein as it is read."""
        length = len(protein)
        kept = self.contacts[:, 1] < length
        return ContactProtein(protein, self.contacts[kept], self.known[:length], self.places[:length])


@dataclass(frozen=True, eq=False)
class ContactTask:
    """Everything that a contact probe is fitted to and scored on.

    Attributes:
        name: the config option.
        splits: ``train``, ``valid`` and ``test``.
        dropped: what was left out, and how often.
        changes: letters changed and sequences truncated.
        notes: what else a person should know, a sentence each.
    """

    name: str
    splits: Mapping[str, tuple[ContactProtein, ...]] = field(repr=False)
    dropped: Mapping[str, int] = field(default_factory=dict)
    changes: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Hash of all splits, ids, sequences, contacts and places, in whatever order."""
        lines = sorted(f"{split}\t{_line(each)}" for split, members in self.splits.items() for each in members)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def contacts_of(beta: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the pairs of residues closer than `CUTOFF`, ``[contact, 2]``; none with a residue that is nowhere.

    Args:
        beta: where residues are, in Angstrom, ``[residue, 3]``; NaN where that is not known.
    """
    distance = np.linalg.norm(beta[:, None].astype(np.float64) - beta[None], axis=-1)
    return np.argwhere(np.triu(distance < CUTOFF, 1))


def without_copies(proteins: Sequence[ContactProtein]) -> list[ContactProtein]:
    """Keep one protein of each sequence, the one whose id comes first."""
    kept: dict[str, ContactProtein] = {}
    for each in sorted(proteins, key=lambda each: each.protein.id):
        kept.setdefault(letters_of(each.protein.sequence), each)
    return list(kept.values())


def divided(
    proteins: Sequence[ContactProtein], n_train: int, n_valid: int, seed: int
) -> dict[str, tuple[ContactProtein, ...]]:
    """Divide proteins into train, valid and test by (seed, id) alone.

    Args:
        proteins: three or more, with different sequences.
        n_train: proteins of train; a third of all at most.
        n_valid: proteins of valid; likewise. All others are test.
        seed: decides which.

    Raises:
        InputError: there are fewer than three.
    """
    if len(proteins) < 3:
        raise InputError(f"train, valid and test need a protein each, and there are {len(proteins)} in all")
    order = sorted(proteins, key=lambda each: _rank(each.protein, seed))
    first = min(n_train, len(order) // 3)
    second = first + min(n_valid, len(order) // 3)
    return {"train": tuple(order[:first]), "valid": tuple(order[first:second]), "test": tuple(order[second:])}


def as_read(chosen: ProteinSet, known: Sequence[ContactProtein]) -> Iterator[ContactProtein]:
    """Yield the contacts of proteins as they are read: letters cleaned, perhaps cut.

    Args:
        chosen: the proteins.
        known: the records that they were chosen from.
    """
    return (known[place].cut_to(protein) for place, protein in zip(chosen.places, chosen.proteins, strict=True))


def _rank(protein: Protein, seed: int) -> float:
    return float(keyed_generator(seed, "split/contact", protein.id).random())


def _line(each: ContactProtein) -> str:
    content = b"\x00".join(array.astype("<i8").tobytes() for array in (each.contacts, each.known, each.places))
    return f"{each.protein.id}\t{each.protein.sequence}\t{hashlib.sha256(content).hexdigest()}"
