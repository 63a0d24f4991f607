"""Protein families of the grammar: columns, motifs, couplings and the labels that go with them."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from plmdepth.proteins.grammar.alphabet import (
    N_LETTERS,
    PARTNERS,
    class_of,
    favoured_letters,
    letter_distribution,
)
from plmdepth.randomness import keyed_generator

N_FAMILIES = 8
N_MOTIFS = 8
SEPARATIONS = (24, 32)
"""Columns between coupled residues, one value a family: too far for a local pattern to stand in for the coupling."""

_ELEMENTS = ("H", "C", "E", "C", "E", "C", "H", "C", "E", "C")
_ELEMENT_LENGTHS = {"H": (10, 15), "E": (5, 8), "C": (4, 8)}
_MOTIF_LENGTH = 6
_N_COUPLINGS = 12
_CONSERVATION = 0.95
_CONSENSUS, _CLASS, _BACKGROUND = 0.5, 0.3, 0.2  # weights of the three parts of an ordinary column
_MOTIF_LETTERS = "CDGHKNPRSWY"


@dataclass(frozen=True)
class Family:
    """One family's template.

    Attributes:
        name: ``family_00`` and so on.
        structure: secondary structure of every column, over H, E, C.
        profile: [column, letter] probability of every amino acid, couplings left out.
        motifs: (motif number, first column) of every motif, in order.
        couplings: pairs of columns whose residues are partners.
        linker_column: the flexible linker, of variable length, is inserted before this column.
    """

    name: str
    structure: str
    profile: np.ndarray = field(compare=False, repr=False)
    motifs: tuple[tuple[int, int], ...]
    couplings: tuple[tuple[int, int], ...]
    linker_column: int

    @property
    def functions(self) -> tuple[str, ...]:
        """The function terms of the family: one per motif it carries."""
        return tuple(f"motif_{number}" for number, _ in sorted(self.motifs))


def motif_letters(seed: int, number: int) -> str:
    """Return the conserved letters of motif ``number``."""
    generator = keyed_generator(seed, "grammar/motif", str(number))
    return "".join(generator.choice(list(_MOTIF_LETTERS), size=_MOTIF_LENGTH))


@lru_cache
def draw_families(seed: int) -> tuple[Family, ...]:
    """Draw the families of one grammar; the same seed gives the same families."""
    return tuple(_draw_family(seed, number) for number in range(N_FAMILIES))


def _draw_family(seed: int, number: int) -> Family:
    generator = keyed_generator(seed, "grammar/family", str(number))
    structure, preferred = _draw_elements(generator)
    profile = np.stack([_ordinary_column(generator, letters) for letters in preferred])
    motifs = _place_motifs(generator, len(structure))
    for motif, start in motifs:
        profile[start : start + _MOTIF_LENGTH] = _conserved_columns(motif_letters(seed, motif))
    linker_column = _linker_column(structure, motifs)
    separation = SEPARATIONS[number % len(SEPARATIONS)]
    couplings = _place_couplings(generator, structure, motifs, linker_column, separation)
    profile[[column for pair in couplings for column in pair]] = letter_distribution("".join(PARTNERS))
    return Family(
        name=f"family_{number:02d}",
        structure=structure,
        profile=profile,
        motifs=motifs,
        couplings=couplings,
        linker_column=linker_column,
    )


def _draw_elements(generator: np.random.Generator) -> tuple[str, list[str]]:
    """Return the structure string and the favoured letters of every column."""
    structure, preferred = "", []
    for element in _ELEMENTS:
        low, high = _ELEMENT_LENGTHS[element]
        length = int(generator.integers(low, high + 1))
        structure += element * length
        preferred += [favoured_letters(element, offset) for offset in range(length)]
    return structure, preferred


def _ordinary_column(generator: np.random.Generator, favoured: str) -> np.ndarray:
    consensus = str(generator.choice(list(favoured)))
    return (
        _CONSENSUS * letter_distribution(consensus)
        + _CLASS * letter_distribution(class_of(consensus))
        + _BACKGROUND * letter_distribution(favoured)
    )


def _conserved_columns(letters: str) -> np.ndarray:
    uniform = np.full(N_LETTERS, 1 / N_LETTERS)
    return np.stack([_CONSERVATION * letter_distribution(x) + (1 - _CONSERVATION) * uniform for x in letters])


def _place_motifs(generator: np.random.Generator, n_columns: int) -> tuple[tuple[int, int], ...]:
    """Place two or three motifs, each in a third of the template of its own."""
    n_motifs = int(generator.integers(2, 4))
    numbers = generator.choice(N_MOTIFS, size=n_motifs, replace=False)
    regions = np.array_split(np.arange(n_columns), 3)[:n_motifs]
    starts = [int(generator.integers(region[0], region[-1] - _MOTIF_LENGTH + 1)) for region in regions]
    return tuple((int(number), start) for number, start in zip(numbers, starts, strict=True))


def _place_couplings(
    generator: np.random.Generator,
    structure: str,
    motifs: tuple[tuple[int, int], ...],
    linker_column: int,
    separation: int,
) -> tuple[tuple[int, int], ...]:
    """Pair free columns at the family's separation, in parallel register, on the same side of the linker."""
    taken = {column for _, start in motifs for column in range(start, start + _MOTIF_LENGTH)}
    free = [column for column in range(linker_column, len(structure)) if column not in taken]
    candidates = [(column, column + separation) for column in free if column + separation in free]
    couplings: list[tuple[int, int]] = []
    for index in generator.permutation(len(candidates)):
        pair = candidates[index]
        if len(couplings) < _N_COUPLINGS and not {*pair} & {column for other in couplings for column in other}:
            couplings.append(pair)
    return tuple(sorted(couplings))


def _linker_column(structure: str, motifs: tuple[tuple[int, int], ...]) -> int:
    """Return where the linker is inserted: before the middle of the first coil, or before the motif that is there."""
    start = structure.index("C")
    middle = start + (len(structure[start:]) - len(structure[start:].lstrip("C"))) // 2
    return next((first for _, first in motifs if first < middle < first + _MOTIF_LENGTH), middle)
