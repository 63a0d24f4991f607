"""Residue classes and secondary-structure preferences from which the grammar builds its columns."""

from types import MappingProxyType

import numpy as np

from plmdepth.proteins.protein import CANONICAL

N_LETTERS = len(CANONICAL)
INDEX = MappingProxyType({letter: index for index, letter in enumerate(CANONICAL)})

SUBSTITUTION_CLASSES = ("AVILMC", "FWY", "STNQ", "KRH", "DE", "GP")
"""Residues that replace one another: aliphatic, aromatic, polar, positive, negative, turn formers."""

PARTNERS = MappingProxyType(dict(zip("DREKFGWA", "RDKEGFAW", strict=True)))
"""The coupling rule: charge pairs and size pairs. An involution, so it reads the same from both ends."""

_FAVOURED = {
    "H": {"buried": "LAIMVF", "exposed": "EKRQAD"},
    "E": {"buried": "VIFYLW", "exposed": "TSQRKT"},
    "C": {"buried": "PGLAVY", "exposed": "GNDSPT"},
}
_HELIX_TURN = 3.6  # residues per turn


def letter_distribution(letters: str) -> np.ndarray:
    """Return the distribution over the twenty amino acids that is uniform over ``letters`` (repeats count).

    >>> float(letter_distribution("AAC")[INDEX["A"]].round(3))
    0.667
    """
    counts = np.bincount([INDEX[letter] for letter in letters], minlength=N_LETTERS)
    return counts / counts.sum()


def class_of(letter: str) -> str:
    """Return the substitution class that holds ``letter``."""
    return next(members for members in SUBSTITUTION_CLASSES if letter in members)


def favoured_letters(structure: str, offset: int) -> str:
    """Return the residues favoured at an offset within a secondary-structure element.

    Helices bury one face (period 3.6 residues), strands every second residue, coils every fourth.

    Args:
        structure: ``"H"``, ``"E"`` or ``"C"``.
        offset: residues from the start of the element.
    """
    buried = {
        "H": (offset % _HELIX_TURN) < _HELIX_TURN / 2,
        "E": offset % 2 == 0,
        "C": offset % 4 == 3,
    }[structure]
    return _FAVOURED[structure]["buried" if buried else "exposed"]
