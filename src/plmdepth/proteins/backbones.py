"""Protein chains from structure files: residues, their backbones and the 3Di letters that describe these.

3Di (van Kempen et al. 2024) gives every residue one of twenty letters for how its backbone touches its nearest
neighbour in space. A residue that is not resolved is not in the chain: its neighbours in sequence stand side by side.
"""

import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from biotite import structure
from biotite.structure.alphabet import to_3di
from biotite.structure.io import pdb, pdbx

from plmdepth.errors import InputError
from plmdepth.proteins.protein import Backbone

ENDINGS = (".pdb", ".ent", ".cif", ".mmcif")
LETTERS = "acdefghiklmnpqrstvwy"
"""The twenty 3Di letters, in lower case to tell them from residues."""


@dataclass(frozen=True)
class Chain:
    """One chain.

    Attributes:
        id: file name and chain, ``1abc-A``.
        sequence: resolved residues, X where a residue is none of the twenty.
        three_di: a 3Di letter a residue, ``d`` where the backbone is not complete.
        backbone: N, CA and C of every residue.
    """

    id: str
    sequence: str
    three_di: str
    backbone: Backbone = field(repr=False, compare=False)


def read_folder(folder: Path) -> Iterator[Chain]:
    """Yield the protein chains of every structure file in a folder, in the order of their names.

    Raises:
        InputError: there is no such folder, no structure file in it, or one that cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}; give dataset.path a folder with PDB or mmCIF files")
    files = [path for path in sorted(folder.iterdir()) if _ending(path) in ENDINGS]
    if not files:
        raise InputError(f"{folder} holds no structure file; expected names that end in {', '.join(ENDINGS)}, or .gz")
    for path in files:
        yield from read_chains(path)


def read_chains(path: Path) -> Iterator[Chain]:
    """Yield the protein chains of a file: its first model, amino acids alone.

    Raises:
        InputError: the file cannot be read, or holds no protein.
    """
    atoms = _first_model(path)
    atoms = atoms[structure.filter_amino_acids(atoms)]
    chains = [str(name) for name in structure.get_chains(atoms)]
    if not chains:
        raise InputError(f"{path} holds no amino acid")
    stem = path.name.removesuffix(".gz").rpartition(".")[0]
    for name in chains:
        chain = atoms[atoms.chain_id == name]
        identifier = stem if len(chains) == 1 else f"{stem}-{name}"
        yield Chain(identifier, _sequence(chain), _three_di(chain), _backbone(chain))


def _first_model(path: Path) -> Any:
    try:
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        file = io.StringIO(text.decode("utf-8"))
        if _ending(path) in (".cif", ".mmcif"):
            return pdbx.get_structure(pdbx.CIFFile.read(file), model=1)
        return pdb.PDBFile.read(file).get_structure(model=1)
    except Exception as error:  # biotite raises many kinds for a damaged file
        raise InputError(f"cannot read a structure from {path}: {str(error).splitlines()[0] or type(error)}") from error


def _sequence(chain: Any) -> str:
    _, names = structure.get_residues(chain)
    return "".join(_letter(str(name)) for name in names)


def _letter(name: str) -> str:
    from biotite.sequence import ProteinSequence  # noqa: PLC0415 (one name of a large module)

    standard = {"MSE": "MET", "SEC": "CYS", "PYL": "LYS"}.get(name, name)
    try:
        return str(ProteinSequence.convert_letter_3to1(standard))
    except KeyError:
        return "X"


def _three_di(chain: Any) -> str:
    sequences, _ = to_3di(chain)
    return str(sequences[0]).lower()


def _backbone(chain: Any) -> Backbone:
    starts = structure.get_residue_starts(chain)
    residue = np.searchsorted(starts, np.arange(len(chain)), side="right") - 1  # of every atom
    backbone = np.full((len(starts), 3, 3), np.nan, dtype=np.float32)
    for place, name in enumerate(("N", "CA", "C")):
        found = chain.atom_name == name
        backbone[residue[found], place] = chain.coord[found]
    return backbone


def _ending(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()
