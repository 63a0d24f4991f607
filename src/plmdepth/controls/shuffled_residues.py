"""``control=shuffled_residues``: the same composition in random order. What it shows too is composition.

A residue takes its structure token with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from plmdepth.controls.control import Control
from plmdepth.proteins.protein import Protein
from plmdepth.randomness import keyed_generator


@dataclass(frozen=True)
class ShuffledResidues(Control):
    """Permute the residues of every protein by (seed, sequence)."""

    def proteins(self, proteins: Sequence[Protein], seed: int) -> tuple[Protein, ...]:
        """Return the shuffled proteins under their own ids."""
        return tuple(_shuffled(protein, seed) for protein in proteins)


def _shuffled(protein: Protein, seed: int) -> Protein:
    order = keyed_generator(seed, "shuffle", protein.sequence).permutation(len(protein))
    codes = protein.structure_tokens
    return Protein(
        protein.id,
        "".join(protein.sequence[index] for index in order),
        structure_tokens=codes and tuple(codes[index] for index in order),
    )
