"""Writing proteins from the grammar, each with the labels that its making implies."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from plmdepth.proteins.grammar.alphabet import INDEX, N_LETTERS, PARTNERS, letter_distribution
from plmdepth.proteins.grammar.families import Family, draw_families
from plmdepth.proteins.protein import CANONICAL, Protein
from plmdepth.randomness import keyed_generator

COUPLING_FIDELITY = 0.95
"""Probability that a coupled residue is its partner's partner; otherwise it is drawn from its column."""

LINKER_LENGTHS = (0, 8)
SIGNALS = {
    # compartment: the columns of its N-terminal signal; a column is a string of equally likely letters
    "cytoplasm": (),
    "secreted": ("KR", "K", *("LAVIFL",) * 10, "A", "STN", "A"),
    "mitochondrion": ("L", *("R", "AL", "SL", "AS") * 4, "RY"),
    "nucleus": ("P", "K", "K", "K", "R", "K", "V", "ED"),
}
COMPARTMENTS = tuple(SIGNALS)
_LETTERS = np.array(list(CANONICAL))
_START = letter_distribution("M")
_LINKER = letter_distribution("GGGSSGT")
_PARTNER_INDEX = np.array([INDEX[PARTNERS[x]] if x in PARTNERS else -1 for x in CANONICAL])


@dataclass(frozen=True, slots=True)
class AnnotatedProtein(Protein):
    """A protein of the grammar with its true labels.

    Attributes:
        family: the family it was written from.
        functions: its function terms (multi-label), one per motif.
        compartment: where its N-terminal signal sends it.
        secondary_structure: H, E or C for every residue.
        contacts: coupled residues, as pairs of 0-based positions, first < second.
        profile: [residue, letter] probability of every amino acid at every residue, couplings left out.
    """

    family: str
    functions: tuple[str, ...]
    compartment: str
    secondary_structure: str
    contacts: tuple[tuple[int, int], ...]
    profile: np.ndarray = field(compare=False, repr=False)


def sample_proteins(seed: int, split: str, count: int, start: int = 0) -> Iterator[AnnotatedProtein]:
    """Yield proteins ``start .. start + count`` of a split; protein k is the same whatever else is asked for."""
    for number in range(start, start + count):
        yield sample_protein(seed, split, number)


def sample_protein(seed: int, split: str, number: int) -> AnnotatedProtein:
    """Write protein ``number`` of a split of the grammar with this seed."""
    generator = keyed_generator(seed, f"grammar/{split}", str(number))
    families = draw_families(seed)
    family = families[generator.integers(len(families))]
    compartment = COMPARTMENTS[generator.integers(len(COMPARTMENTS))]
    linker = int(generator.integers(LINKER_LENGTHS[0], LINKER_LENGTHS[1] + 1))
    head = _signal_profile(compartment)
    position = _positions(family, len(head), linker)
    profile = np.concatenate([head, _domain_profile(family, linker)])
    contacts = tuple((int(position[i]), int(position[j])) for i, j in family.couplings)
    letters = _draw_letters(generator, profile, contacts)
    return AnnotatedProtein(
        id=f"{split}_{number:06d}",
        sequence="".join(_LETTERS[letters]),
        family=family.name,
        functions=family.functions,
        compartment=compartment,
        secondary_structure=_structure(family, len(head), linker),
        contacts=contacts,
        profile=profile,
    )


@lru_cache
def _signal_profile(compartment: str) -> np.ndarray:
    return np.stack([_START, *(letter_distribution(column) for column in SIGNALS[compartment])])


def _domain_profile(family: Family, linker: int) -> np.ndarray:
    inserted = np.broadcast_to(_LINKER, (linker, N_LETTERS))
    return np.concatenate([family.profile[: family.linker_column], inserted, family.profile[family.linker_column :]])


def _positions(family: Family, n_head: int, linker: int) -> np.ndarray:
    """Return the residue position of every template column."""
    columns = np.arange(len(family.structure))
    return n_head + columns + linker * (columns >= family.linker_column)


def _structure(family: Family, n_head: int, linker: int) -> str:
    cut = family.linker_column
    return "C" * n_head + family.structure[:cut] + "C" * linker + family.structure[cut:]


def _draw_letters(
    generator: np.random.Generator, profile: np.ndarray, contacts: tuple[tuple[int, int], ...]
) -> np.ndarray:
    """Draw every residue from its column, then write partners over the second residue of each contact."""
    uniform = generator.random((len(profile), 1))
    letters = (profile.cumsum(axis=1) < uniform).sum(axis=1).clip(max=N_LETTERS - 1)
    first, second = np.array(contacts).T
    coupled = generator.random(len(contacts)) < COUPLING_FIDELITY
    letters[second[coupled]] = _PARTNER_INDEX[letters[first[coupled]]]
    return letters
