"""``dataset=fasta``: the proteins of a FASTA file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from plmdepth.proteins.datasets.dataset import Dataset
from plmdepth.proteins.fasta import read_fasta


@dataclass(frozen=True, kw_only=True)
class FastaDataset(Dataset):
    """A FASTA file, plain or gzipped.

    Attributes:
        path: the file.
    """

    path: str

    def records(self) -> Iterator[tuple[str, str]]:
        """Yield (id, text) of every record."""
        return read_fasta(Path(self.path).expanduser())
