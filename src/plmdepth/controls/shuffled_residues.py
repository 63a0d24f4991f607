"""``control=shuffled_residues``: the same composition in random order. What it shows too is composition."""

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
        return tuple(Protein(protein.id, _shuffled(protein.sequence, seed)) for protein in proteins)


def _shuffled(sequence: str, seed: int) -> str:
    order = keyed_generator(seed, "shuffle", sequence).permutation(len(sequence))
    return "".join(sequence[index] for index in order)
