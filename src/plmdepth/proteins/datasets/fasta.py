"""``dataset=fasta``: the proteins of a FASTA file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from plmdepth.proteins.datasets.dataset import Dataset
from plmdepth.proteins.fasta import read_fasta
from plmdepth.proteins.selection import Structures
from plmdepth.proteins.structure_tokens import read_structure_tokens


@dataclass(frozen=True, kw_only=True)
class FastaDataset(Dataset):
    """A FASTA file, plain or gzipped.

    Attributes:
        path: the file.
        structure_tokens: a file with the structure tokens of the same proteins, as DPLM-2 publishes them; proteins
            without tokens are then left out. None where no model reads structures.
    """

    path: str
    structure_tokens: str | None = None

    def records(self) -> Iterator[tuple[str, str]]:
        """Yield (id, text) of every record."""
        return read_fasta(Path(self.path).expanduser())

    def structures(self) -> Structures | None:
        """Return the structure tokens of every protein."""
        if self.structure_tokens is None:
            return None
        return Structures("dplm2", read_structure_tokens(Path(self.structure_tokens).expanduser()))
