"""``dataset=ec``, ``go_bp``, ``go_mf``, ``go_cc``: enzyme classes and GO terms of PDB chains."""

from dataclasses import dataclass, replace
from typing import Literal

from plmdepth.proteins.datasets.labelled import FilesDataset
from plmdepth.proteins.tasks.deepfri import read_deepfri
from plmdepth.proteins.tasks.published import EC, GO
from plmdepth.proteins.tasks.raw import MAIN_SPLITS, RawTask


@dataclass(frozen=True, kw_only=True)
class DeepfriDataset(FilesDataset):
    """Multi-label function of protein chains in DeepFRI's layout.

    Attributes:
        terms: which terms are predicted.
        keep_unannotated: keep chains that have no term of these, as all negative; otherwise they are left out.
    """

    terms: Literal["ec", "go_bp", "go_mf", "go_cc"]
    keep_unannotated: bool = False

    def read(self) -> RawTask:
        """Read all splits; files may also be named otherwise, as long as one alone ends as expected."""
        prefix, heading, remotes = _PUBLISHED[self.terms]
        suffixes = ("annot.tsv", "sequences.fasta", *(f"{split}.txt" for split in MAIN_SPLITS), "test.csv")
        folder = self.folder(tuple(prefix + suffix for suffix in suffixes), remotes)
        identity = folder.find_if_there(f"{prefix}test.csv", "*test.csv")
        raw = read_deepfri(
            folder.find(f"{prefix}annot.tsv", "*annot.tsv"),
            folder.find(f"{prefix}sequences.fasta", "*sequences.fasta", "*.fasta"),
            {split: folder.find(f"{prefix}{split}.txt", f"*{split}.txt") for split in MAIN_SPLITS},
            identity,
            heading,
            keep_unannotated=self.keep_unannotated,
        )
        return raw if identity else replace(raw, absent={"identity cut-offs": f"no {prefix}test.csv"})


_EC, _GO = "nrPDB-EC_2020.04_", "nrPDB-GO_2019.06.18_"
_PUBLISHED = {
    "ec": (_EC, "EC-numbers", EC),
    "go_bp": (_GO, "GO-terms (biological_process)", GO),
    "go_mf": (_GO, "GO-terms (molecular_function)", GO),
    "go_cc": (_GO, "GO-terms (cellular_component)", GO),
}
