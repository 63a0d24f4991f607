"""``dataset=structures``: the chains of PDB and mmCIF files, with their 3Di letters and coordinates."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from plmdepth.proteins.backbones import LETTERS, Chain, read_folder
from plmdepth.proteins.datasets.dataset import Dataset
from plmdepth.proteins.protein import Skipped
from plmdepth.proteins.selection import ProteinSet, Structures, select


class FolderOfChains(NamedTuple):
    """What a folder holds: its chains, the files that hold none, and a sentence about files of other names."""

    chains: tuple[Chain, ...]
    unread: tuple[Skipped, ...]
    notes: tuple[str, ...]

    @classmethod
    def read(cls, folder: str, option: str, *, skip: bool) -> "FolderOfChains":
        """Read a folder.

        Args:
            folder: the folder.
            option: what the user sets it with, for messages.
            skip: go on after a file without a chain.

        Raises:
            InputError: there is no structure file, or one holds no chain and is not to be skipped.
        """
        unread, notes = list[Skipped](), list[str]()
        chains = tuple(read_folder(Path(folder).expanduser(), option, unread if skip else None, notes))
        return cls(chains, tuple(unread), tuple(notes))


@dataclass(frozen=True, kw_only=True)
class StructuresDataset(Dataset):
    """A folder of structure files, plain or gzipped; of each the first model.

    Attributes:
        path: the folder.
    """

    path: str

    @cached_property
    def found(self) -> FolderOfChains:
        """What the folder holds."""
        return FolderOfChains.read(self.path, "dataset.path", skip=self.invalid == "skip")

    def records(self) -> Iterator[tuple[str, str]]:
        """Yield (id, sequence) of every chain."""
        return ((chain.id, chain.sequence) for chain in self.found.chains)

    def structures(self) -> Structures | None:
        """Return the 3Di letters of every chain as their places in the alphabet, and its coordinates.

        Of chains with one id the first counts, as it does among records.
        """
        chains = {chain.id: chain for chain in reversed(self.found.chains)}
        codes = {name: tuple(LETTERS.index(letter) for letter in chain.three_di) for name, chain in chains.items()}
        return Structures("3di", codes, {name: chain.backbone for name, chain in chains.items()})

    def proteins(self, model_limit: int, seed: int) -> ProteinSet:
        """Return the proteins to measure; files without a chain are among the skipped."""
        chosen = select(self.records(), self.rules(model_limit, seed), self.structures(), self.found.unread)
        return replace(chosen, notes=(*chosen.notes, *self.found.notes))
