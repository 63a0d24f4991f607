"""``dataset=structures``: the chains of PDB and mmCIF files, with their 3Di letters and coordinates."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from plmdepth.proteins.backbones import LETTERS, Chain, read_folder
from plmdepth.proteins.datasets.dataset import Dataset
from plmdepth.proteins.selection import Structures


@dataclass(frozen=True, kw_only=True)
class StructuresDataset(Dataset):
    """A folder of structure files, plain or gzipped; of each the first model.

    Attributes:
        path: the folder.
    """

    path: str

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """All chains."""
        return tuple(read_folder(Path(self.path).expanduser()))

    def records(self) -> Iterator[tuple[str, str]]:
        """Yield (id, sequence) of every chain."""
        return ((chain.id, chain.sequence) for chain in self.chains)

    def structures(self) -> Structures | None:
        """Return the 3Di letters of every chain as their places in the alphabet, and its coordinates.

        Of chains with one id the first counts, as it does among records.
        """
        chains = {chain.id: chain for chain in reversed(self.chains)}
        codes = {name: tuple(LETTERS.index(letter) for letter in chain.three_di) for name, chain in chains.items()}
        return Structures("3di", codes, {name: chain.backbone for name, chain in chains.items()})
