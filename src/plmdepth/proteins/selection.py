"""From records to the proteins that are measured: letters, duplicates, lengths, order and limit."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

from plmdepth.errors import InputError
from plmdepth.proteins.letters import NONCANONICAL, UnusableRecordError, clean_letters, nucleotide_notes
from plmdepth.proteins.protein import Backbone, Protein, Skipped, StructureAlphabet
from plmdepth.randomness import keyed_generator

LengthPolicy = Literal["error", "truncate", "skip"]


@dataclass(frozen=True)
class Rules:
    """How records become proteins.

    Attributes:
        max_length: longest protein in residues.
        length_policy: what happens to a longer one: ``error`` stops the run, ``truncate`` keeps its first residues,
            ``skip`` leaves it out.
        invalid: what happens to a record that is no protein: ``skip`` or ``error``.
        limit: keep this many proteins, the first in a seeded order; None keeps all.
        seed: decides that order.
    """

    max_length: int
    length_policy: LengthPolicy = "error"
    invalid: Literal["skip", "error"] = "skip"
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class ProteinSet:
    """The proteins of one run.

    Attributes:
        proteins: what is measured.
        skipped: what is not, and why.
        changes: letters changed or noted, by kind (see `letters`), and sequences truncated.
        notes: what else a person should know of them, a sentence each.
        places: of every protein, which of the records it was made from, from 0.
    """

    proteins: tuple[Protein, ...]
    skipped: tuple[Skipped, ...]
    changes: dict[str, int]
    notes: tuple[str, ...] = ()
    places: tuple[int, ...] = ()

    @property
    def digest(self) -> str:
        """Hash of all ids, sequences and structures, whatever files they came from and in whatever order."""
        lines = sorted(_line(protein) for protein in self.proteins)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class Structures(NamedTuple):
    """The structures of proteins.

    Attributes:
        alphabet: what the codes of structure tokens mean.
        codes: by id, one a residue.
        backbones: by id, coordinates; None where there are structure tokens alone.
    """

    alphabet: StructureAlphabet
    codes: Mapping[str, tuple[int, ...]]
    backbones: Mapping[str, Backbone] | None = None


class _TooLongError(UnusableRecordError):
    """A protein that the length policy leaves out."""


def select(
    records: Iterable[tuple[str, str]],
    rules: Rules,
    structures: Structures | None = None,
    unread: Sequence[Skipped] = (),
) -> ProteinSet:
    """Apply the rules to (id, text) records.

    Args:
        records: the records.
        rules: how they become proteins.
        structures: structures, which every protein must then have, one token for each of its residues.
        unread: what was skipped before there was a record.

    Raises:
        InputError: a record is refused by the rules, or nothing is left to measure.
    """
    skipped = list(unread)
    kept = list(usable(records, rules, structures, skipped, set()))
    if rules.limit is not None and rules.limit < len(kept):
        kept = sorted(kept, key=lambda usable: _rank(usable.protein, rules.seed))[: rules.limit]
    if not kept:
        raise InputError(f"no protein is left to measure: all {len(skipped)} records were skipped, {_why(skipped)}")
    changes = sum((usable.changes for usable in kept), Counter())
    return ProteinSet(
        with_copies_named([usable.protein for usable in kept]),
        tuple(skipped),
        dict(sorted(changes.items())),
        nucleotide_notes([usable.protein.sequence for usable in kept]),
        tuple(usable.place for usable in kept),
    )


def with_copies_named(proteins: Sequence[Protein]) -> tuple[Protein, ...]:
    """Return proteins that know, where several have one sequence, by which id they are drawn: the first in order."""
    ids: dict[str, list[str]] = {}
    for protein in proteins:
        ids.setdefault(protein.sequence, []).append(protein.id)
    return tuple(
        replace(protein, copy_of=min(ids[protein.sequence])) if len(ids[protein.sequence]) > 1 else protein
        for protein in proteins
    )


class Usable(NamedTuple):
    """A protein, what was changed to make it one, and which of the records it was, from 0."""

    protein: Protein
    changes: Counter[str]
    place: int


class IdSet(Protocol):
    """The ids that were there before."""

    def __contains__(self, identifier: object, /) -> bool: ...

    def add(self, identifier: str, /) -> None:
        """Note an id."""


def usable(
    records: Iterable[tuple[str, str]], rules: Rules, structures: Structures | None, skipped: list[Skipped], ids: IdSet
) -> Iterator[Usable]:
    """Yield the records that pass with what was changed in them; note the others in ``skipped``.

    Nothing else grows with the number of records, so that a caller that empties ``skipped`` can go through any number.

    Args:
        records: the records.
        rules: how they become proteins; a limit is not looked at.
        structures: structures, which every protein must then have.
        skipped: takes the records that do not pass.
        ids: of proteins so far; a second record with one of them does not pass.

    Raises:
        InputError: a record is refused by the rules.
    """
    for place, (identifier, text) in enumerate(records):
        try:
            if identifier in ids:
                raise UnusableRecordError("duplicate id (the first record with this id is kept)")
            cleaned = clean_letters(text)
            _check_codes(identifier, cleaned.sequence, structures)
            sequence = _within_length(identifier, cleaned.sequence, rules)
        except UnusableRecordError as error:
            if rules.invalid == "error" and not isinstance(error, _TooLongError):
                raise InputError(f"record {identifier}: {error}; mend it or use dataset.invalid=skip") from error
            skipped.append(Skipped(identifier, len(text), str(error)))
            continue
        ids.add(identifier)
        noted = {
            "sequences truncated": int(len(sequence) < len(cleaned.sequence)),
            "residues outside the twenty": sum(letter in NONCANONICAL for letter in sequence),
        }
        protein = _with_structure(Protein(identifier, sequence), structures)
        yield Usable(protein, cleaned.changes + Counter(noted), place)


def _with_structure(protein: Protein, structures: Structures | None) -> Protein:
    """Return a protein with the structure of its residues, which may be the first of a longer protein."""
    if structures is None:
        return protein
    alphabet, codes, backbones = structures
    return replace(
        protein,
        structure_tokens=codes[protein.id][: len(protein)],
        structure_alphabet=alphabet,
        backbone=None if backbones is None else backbones[protein.id][: len(protein)],
    )


def _check_codes(identifier: str, sequence: str, structures: Structures | None) -> None:
    if structures is None:
        return
    if identifier not in structures.codes:
        raise UnusableRecordError("no structure tokens")
    codes = structures.codes[identifier]
    if len(codes) != len(sequence):
        raise UnusableRecordError(f"as many structure tokens as residues are needed ({len(codes)}, {len(sequence)})")


def _within_length(identifier: str, sequence: str, rules: Rules) -> str:
    length = len(sequence)
    if length <= rules.max_length:
        return sequence
    if rules.length_policy == "error":
        raise InputError(
            f"{identifier} has {length} residues, the limit is {rules.max_length}; "
            "choose dataset.length_policy=truncate or dataset.length_policy=skip"
        )
    if rules.length_policy == "skip":
        raise _TooLongError(f"longer than {rules.max_length} residues ({length})")
    return sequence[: rules.max_length]


def _line(protein: Protein) -> str:
    codes = () if protein.structure_tokens is None else (",".join(map(str, protein.structure_tokens)),)
    alphabet = () if protein.structure_alphabet == "dplm2" else (protein.structure_alphabet,)
    backbone = () if protein.backbone is None else (hashlib.sha256(protein.backbone.tobytes()).hexdigest(),)
    return "\t".join((protein.id, protein.sequence, *codes, *alphabet, *backbone))


def _rank(protein: Protein, seed: int) -> float:
    return float(keyed_generator(seed, "order", f"{protein.id}\t{protein.sequence}").random())


def _why(skipped: list[Skipped]) -> str:
    if not skipped:
        return "there were none"
    return f"the first because of: {skipped[0].reason}"
