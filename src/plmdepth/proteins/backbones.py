"""Protein chains from structure files: residues, their backbones, C-beta, and the 3Di letters that describe these.

3Di (van Kempen et al. 2024) gives every residue one of twenty letters for how its backbone touches its nearest
neighbour in space. A residue that is not resolved is not in the chain: its neighbours in sequence stand side by side.
How many are missing between two residues is told by their places (`Chain.places`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from biotite import structure
from biotite.structure.alphabet import to_3di
from numpy.typing import NDArray

from plmdepth.errors import InputError
from plmdepth.proteins.polymers import Residue, polymers_of, read_structure
from plmdepth.proteins.protein import Backbone, Skipped

ENDINGS = (".pdb", ".ent", ".cif", ".mmcif", ".bcif", *(f".pdb{number}" for number in range(1, 10)))
LETTERS = "acdefghiklmnpqrstvwy"
"""The twenty 3Di letters, in lower case to tell them from residues."""
_BACKBONE = ("N", "CA", "C")
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


def read_folder(
    folder: Path, option: str = "dataset.path", skipped: list[Skipped] | None = None, notes: list[str] | None = None
) -> Iterator[Chain]:
    """Yield the protein chains of every structure file in a folder, in the order of their names.

    Args:
        folder: the folder.
        option: what the user sets it with, for messages.
        skipped: takes the files without a chain, with the reason; None refuses the first of them.
        notes: takes a sentence about files that are not looked into because of their names.

    Raises:
        InputError: there is no such folder, no structure file in it, or one that is not to be skipped.
    """
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}; give {option} a folder with PDB or mmCIF files")
    everything = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    files = [path for path in everything if _stem_and_ending(path)[1] in ENDINGS]
    expected = f"names that end in {', '.join(ENDINGS[:5])} or .pdb1, and perhaps .gz"
    if not files:
        raise InputError(f"{folder} holds no structure file; expected {expected}")
    if notes is not None and (others := [path.name for path in everything if path not in files]):
        notes.append(f"{len(others)} files of {folder} were not read, the first is {others[0]}; {expected} are read")
    for path in files:
        try:
            yield from read_chains(path)
        except InputError as error:
            if skipped is None:
                raise InputError(f"{error}; take it out or use dataset.invalid=skip") from error
            skipped.append(Skipped(path.name, 0, f"no protein chain in a file ({error})"))


def read_chains(path: Path) -> Iterator[Chain]:
    """Yield the protein chains of a file: the polymers of its first model that are made of amino acids.

    Raises:
        InputError: the file cannot be read, or holds no protein.
    """
    stem, ending = _stem_and_ending(path)
    polymers = polymers_of(read_structure(path, ending))
    if not polymers:
        raise InputError(f"{path} holds no chain of amino acids")
    for name, residues in polymers:
        backbone = _positions(residues, _BACKBONE)
        alpha, beta = np.moveaxis(_positions(residues, ("CA", "CB")), 1, 0)
        yield Chain(
            id=stem if len(polymers) == 1 else f"{stem}-{name}",
            sequence="".join(residue.letter for residue in residues),
            three_di=_three_di(residues),
            backbone=backbone,
            beta=np.where(np.isnan(beta), alpha, beta),
            places=_places(residues, backbone),
        )


def _stem_and_ending(path: Path) -> tuple[str, str]:
    """Return the name without its endings, and the one that says the format, in lower case."""
    inner = Path(path.name[:-3] if path.suffix.lower() == ".gz" else path.name)
    return inner.stem, inner.suffix.lower()


def _positions(residues: Sequence[Residue], names: Sequence[str]) -> NDArray[np.float32]:
    """Return where atoms of every residue are, ``[residue, atom, 3]``; NaN where they are not resolved."""
    nowhere = (np.nan, np.nan, np.nan)
    return np.array([[residue.atoms.get(name, nowhere) for name in names] for residue in residues], dtype=np.float32)


def _three_di(residues: Sequence[Residue]) -> str:
    atoms: list[Any] = []
    for number, residue in enumerate(residues, start=1):
        known = [name for name in (*_BACKBONE, "CB") if name in residue.atoms] or list(residue.atoms)[:1]
        atoms += [
            structure.Atom(residue.atoms[name], chain_id="A", res_id=number, res_name=residue.name, atom_name=name)
            for name in known
        ]
    sequences, _ = to_3di(structure.array(atoms))
    return str(sequences[0]).lower()


def _places(residues: Sequence[Residue], backbone: Backbone) -> NDArray[np.int64]:
    numbers = np.array([residue.number for residue in residues], dtype=np.int64)
    bond = np.linalg.norm(backbone[1:, 0] - backbone[:-1, 2], axis=-1)  # from C to the next N
    steps = np.where(bond < _BONDED, 1, np.maximum(np.diff(numbers), 1))
    return np.concatenate([[0], steps.cumsum()])
