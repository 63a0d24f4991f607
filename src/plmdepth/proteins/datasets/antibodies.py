"""``dataset=antibodies``: real chains of therapeutic antibodies that come with this package."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from plmdepth.proteins.datasets.dataset import Dataset
from plmdepth.proteins.fasta import read_fasta


@dataclass(frozen=True, kw_only=True)
class AntibodyDataset(Dataset):
    """The heavy and light chains of 100 therapeutic antibodies; see ``bundled/antibodies/README.md`` for their source.

    Attributes:
        chain: which chains; a model of one chain reads those alone.
    """

    chain: Literal["both", "heavy", "light"] = "both"

    def records(self) -> Iterator[tuple[str, str]]:
        """Yield (id, sequence) of every chain."""
        file = Path(str(files("plmdepth"))) / "bundled" / "antibodies" / "chains.fasta"
        wanted = ("_heavy", "_light") if self.chain == "both" else f"_{self.chain}"
        return (record for record in read_fasta(file) if record[0].endswith(wanted))
