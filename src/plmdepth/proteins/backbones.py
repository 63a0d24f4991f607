"""Protein chains from structure files: residues, their backbones, C-beta, and the 3Di letters that describe these.

3Di (van Kempen et al. 2024) gives every residue one of twenty letters for how its backbone touches its nearest
neighbour in space. A residue that is not resolved is not in the chain: its neighbours in sequence stand side by side.
How many are missing between two residues is told by their places (`Chain.places`).
"""

import gzip
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from biotite import structure
from biotite.structure.alphabet import to_3di
from biotite.structure.io import pdb, pdbx
from numpy.typing import NDArray

from plmdepth.errors import InputError
from plmdepth.proteins.protein import Backbone

ENDINGS = (".pdb", ".ent", ".cif", ".mmcif")
LETTERS = "acdefghiklmnpqrstvwy"
"""The twenty 3Di letters, in lower case to tell them from residues."""
_BONDED = 2.0
"""C and N closer than this, in Angstrom, are bound to each other: the peptide bond is 1.33 long."""


@dataclass(frozen=True)
class Chain:
    """One chain.

    Attributes:
        id: file name and chain, ``1abc-A``.
        sequence: resolved residues, X where a residue is none of the twenty.
        three_di: a 3Di letter a residue, ``d`` where the backbone is not complete.
        backbone: N, CA and C of every residue.
        beta: CB of every residue in Angstrom, float32 ``[residue, 3]``; CA where there is no CB (glycine has none,
            other residues may lack it); NaN where there is neither.
        places: where every residue stands along the chain, int64 ``[residue]``, from 0 and always rising. A residue
            that is bound to the one before it stands one further, whatever its number: numbers may be negative, jump,
            or repeat with insertion codes. Where there is no bond, residues are missing: as many as the numbers leave
            out, and none where these do not rise.
    """

    id: str
    sequence: str
    three_di: str
    backbone: Backbone = field(repr=False, compare=False)
    beta: NDArray[np.float32] = field(repr=False, compare=False)
    places: NDArray[np.int64] = field(repr=False, compare=False)


def read_folder(folder: Path, option: str = "dataset.path") -> Iterator[Chain]:
    """Yield the protein chains of every structure file in a folder, in the order of their names.

    Args:
        folder: the folder.
        option: what the user sets it with, for messages.

    Raises:
        InputError: there is no such folder, no structure file in it, or one that cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}; give {option} a folder with PDB or mmCIF files")
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
    chains = list(dict.fromkeys(str(name) for name in structure.get_chains(atoms)))  # it may come in several pieces
    if not chains:
        raise InputError(f"{path} holds no amino acid")
    stem = path.name.removesuffix(".gz").rpartition(".")[0]
    for name in chains:
        chain = atoms[atoms.chain_id == name]
        identifier = stem if len(chains) == 1 else f"{stem}-{name}"
        backbone = _positions(chain, ("N", "CA", "C"))
        yield Chain(
            identifier, _sequence(chain), _three_di(chain), backbone, beta=_beta(chain), places=_places(chain, backbone)
        )


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
    in_order = chain.copy()
    in_order.res_id = 1 + structure.get_all_residue_positions(chain)  # where numbers fall, a new chain would be seen
    in_order.ins_code[:] = ""
    sequences, _ = to_3di(in_order)
    return str(sequences[0]).lower()


def _positions(chain: Any, names: Sequence[str]) -> NDArray[np.float32]:
    """Return where atoms of every residue are, ``[residue, atom, 3]``; NaN where they are not resolved."""
    starts = structure.get_residue_starts(chain)
    residue = np.searchsorted(starts, np.arange(len(chain)), side="right") - 1  # of every atom
    positions = np.full((len(starts), len(names), 3), np.nan, dtype=np.float32)
    for index, name in enumerate(names):
        found = chain.atom_name == name
        positions[residue[found], index] = chain.coord[found]
    return positions


def _beta(chain: Any) -> NDArray[np.float32]:
    beta, alpha = np.moveaxis(_positions(chain, ("CB", "CA")), 1, 0)
    return np.where(np.isnan(beta), alpha, beta)


def _places(chain: Any, backbone: Backbone) -> NDArray[np.int64]:
    numbers = chain.res_id[structure.get_residue_starts(chain)].astype(np.int64)
    bond = np.linalg.norm(backbone[1:, 0] - backbone[:-1, 2], axis=-1)  # from C to the next N
    steps = np.where(bond < _BONDED, 1, np.maximum(np.diff(numbers), 1))
    return np.concatenate([[0], steps.cumsum()])


def _ending(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()
