"""``dataset=fold``: the fold of a domain, with superfamilies held out."""

from dataclasses import dataclass

from plmdepth.proteins.datasets.labelled import FilesDataset
from plmdepth.proteins.tasks.cath import read_cath
from plmdepth.proteins.tasks.raw import RawTask

_LABELS, _SEQUENCES = "labels.csv", "cath_single_domain_chains.fasta"


@dataclass(frozen=True, kw_only=True)
class CathDataset(FilesDataset):
    """CATH topologies of chains that are one domain."""

    def read(self) -> RawTask:
        """Read all splits."""
        folder = self.folder((_LABELS, _SEQUENCES))
        return read_cath(folder.find(_LABELS), folder.find(_SEQUENCES, "*.fasta"))
