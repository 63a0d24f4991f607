"""``control=shuffled_residues``: the same composition in random order. What it shows too is composition.

A residue takes its structure token and its coordinates with it: what a model that reads these is shown in the order of
the sequence is shuffled, and every residue stays where it is in space.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    codes, backbone = protein.structure_tokens, protein.backbone
    return replace(
        protein,
        sequence="".join(protein.sequence[index] for index in order),
        structure_tokens=codes and tuple(codes[index] for index in order),
        backbone=None if backbone is None else backbone[order],
    )
