"""The polymers of a structure file: which of its residues make up a protein chain, and which of their atoms count.

An amino acid may be bound as a ligand, and a residue of a chain may be none that any dictionary knows. What makes a
chain is said by mmCIF (entities, ``label_seq_id``) and in PDB by TER; gemmi reads both. Where a PDB file has no TER,
peptide bonds, ``SEQRES`` and ``MODRES`` decide. Of alternate locations, whatever their names, the one with the highest
occupancy counts, the first of equals.
"""

import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from pathlib import Path

import gemmi
from biotite.structure.io import pdbx

from plmdepth.errors import InputError
from plmdepth.proteins.protein import CANONICAL

_GZIP_MAGIC = b"\x1f\x8b"
_BONDED = 2.0  # Angstrom between C and N; 1.33 is the length of the bond
_PARENTS = {"MSE": "M", "SEC": "C", "PYL": "K"}
_PEPTIDES = (gemmi.PolymerType.PeptideL, gemmi.PolymerType.PeptideD, gemmi.PolymerType.CyclicPseudoPeptide)
_CATEGORIES = ("entity", "entity_poly", "entity_poly_seq", "struct_asym", "atom_site")

Position = tuple[float, float, float]


@dataclass(frozen=True)
class Residue:
    """A residue of a chain.

    Attributes:
        name: of its component, such as ``ALA``.
        number: as the file counts, without the insertion code.
        atoms: where every atom is, in Angstrom; one location each.
    """

    name: str
    number: int
    atoms: dict[str, Position]

    @cached_property
    def letter(self) -> str:
        """One of the twenty amino acids, or X."""
        if self.name in _PARENTS:
            return _PARENTS[self.name]
        code = gemmi.find_tabulated_residue(self.name)
        known = code.is_amino_acid() and code.is_standard() and code.one_letter_code in CANONICAL + "BZ"
        return code.one_letter_code if known else "X"


def read_structure(path: Path, ending: str) -> gemmi.Structure:
    """Read a PDB, mmCIF or BinaryCIF file, plain or gzipped.

    Args:
        path: the file.
        ending: what its name ends in, in lower case and without ``.gz``.

    Raises:
        InputError: it cannot be read.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == _GZIP_MAGIC else content
        if ending == ".bcif":
            return gemmi.make_structure_from_block(_block_of(pdbx.BinaryCIFFile.read(io.BytesIO(content))))
        # Letters beyond ASCII stand in remarks alone; in Latin-1 every byte is one.
        text = content.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
        if ending in (".cif", ".mmcif"):
            blocks = gemmi.cif.read_string(text)
            with_atoms = (block for block in blocks if block.find_mmcif_category("_atom_site."))
            return gemmi.make_structure_from_block(next(with_atoms, gemmi.cif.Block("empty")))
        return gemmi.read_pdb_string("\n".join(map(_without_charge, text.split("\n"))))
    except Exception as error:  # both libraries raise many kinds for a damaged file
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"cannot read a structure from {path}: {why}") from error


def polymers_of(whole: gemmi.Structure) -> list[tuple[str, list[Residue]]]:
    """Return the protein chains of the first model with the names that the authors gave them."""
    if not len(whole):
        return []
    whole.merge_chain_parts()
    modified = {each.res_id.name for each in whole.mod_residues}
    for chain in whole[0]:
        if any(each.entity_type == gemmi.EntityType.Unknown for each in chain):
            entity = whole.get_entity(chain.name)  # that of SEQRES bears the name of its chain
            _tell_polymer(list(chain), entity.full_sequence if entity else [], modified)
    whole.setup_entities()
    found: list[tuple[str, list[Residue]]] = []
    for chain in whole[0]:
        spans = [span for span in chain.subchains() if _is_protein(whole.get_entity_of(span), span)]
        for number, span in enumerate(spans, start=1):
            name = chain.name.strip() if number == 1 else f"{chain.name.strip()}.{number}"
            places = groupby(span, key=lambda each: (str(each.seqid), each.label_seq))
            found.append((name, [_resolved(list(alternatives)) for _, alternatives in places]))
    return found


def _block_of(file: pdbx.BinaryCIFFile) -> gemmi.cif.Block:
    """Return the part of a BinaryCIF file that says what and where atoms are, as mmCIF."""
    block = gemmi.cif.Block("from_binary")
    for name in _CATEGORIES:
        if name in file.block:
            columns = {column: data.as_array(str).tolist() for column, data in file.block[name].items()}
            unknown = {"?": None, ".": False}
            block.set_mmcif_category(
                f"_{name}.",
                {column: [unknown.get(each, each) for each in values] for column, values in columns.items()},
            )
    return block


def _without_charge(line: str) -> str:
    """Return a line of a PDB file; of an atom, without what files of the nineties have after the temperature factor."""
    if not line.startswith(("ATOM", "HETATM")):
        return line
    element = line[76:78]
    return line[:72].ljust(76) + element if element.strip().isalpha() else line[:72]


def _is_protein(entity: gemmi.Entity | None, span: gemmi.ResidueSpan) -> bool:
    if entity is None or entity.entity_type != gemmi.EntityType.Polymer:
        return False
    return entity.polymer_type in _PEPTIDES or (
        entity.polymer_type in (gemmi.PolymerType.Unknown, gemmi.PolymerType.Other)
        and span.check_polymer_type() in _PEPTIDES
    )


def _tell_polymer(residues: Sequence[gemmi.Residue], sequence: Sequence[str], modified: set[str]) -> None:
    """Mark what is a polymer among the residues of a chain of a PDB file that no TER ends.

    All that looks like an amino acid is, up to the last one that stands as ATOM, has a peptide bond or is told by
    MODRES. If that is more than SEQRES lists, or if the end of the chain (OXT) comes before, amino acids without a bond
    are taken from the end of it: they are ligands.

    Args:
        residues: of the chain.
        sequence: the names that SEQRES lists; none where there is no SEQRES.
        modified: names that MODRES lists.
    """
    dry = [each for each in residues if not each.is_water()]
    bonds = [_are_bonded(first, second) for first, second in pairwise(dry)]
    bonded = [before or after for before, after in zip([False, *bonds], [*bonds, False], strict=bool(dry))]
    chain = [
        (each, bond)
        for each, bond in zip(dry, bonded, strict=True)
        if bond or gemmi.find_tabulated_residue(each.name).is_amino_acid() or {"N", "CA", "C"} <= _names(each)
    ]
    nucleotides = any(gemmi.find_tabulated_residue(each.name).is_nucleic_acid() for each in dry)
    while chain:
        last, bond = chain[-1]
        ended = any("OXT" in _names(each) for each, _ in chain[:-1]) and not bond
        surplus = bool(sequence) and not _is_within([each.name for each, _ in chain], sequence)
        certain = bond or last.name in modified or (last.het_flag == "A" and not ended)
        if certain and not (surplus and not bond):
            break
        chain.pop()
    if not chain and nucleotides:
        return  # gemmi tells it
    polymer = {id(each) for each, _ in chain}
    for each in residues:
        other = gemmi.EntityType.Water if each.is_water() else gemmi.EntityType.NonPolymer
        each.entity_type = gemmi.EntityType.Polymer if id(each) in polymer else other


def _are_bonded(first: gemmi.Residue, second: gemmi.Residue) -> bool:
    return any(
        one.name == "C" and other.name == "N" and one.pos.dist(other.pos) < _BONDED for one in first for other in second
    )


def _names(residue: gemmi.Residue) -> set[str]:
    return {atom.name for atom in residue}


def _is_within(names: Sequence[str], sequence: Sequence[str]) -> bool:
    """Say whether names stand in a sequence in their order; what is not resolved may lie between them."""
    remaining = iter(sequence)
    return all(name in remaining for name in names)


def _resolved(alternatives: Sequence[gemmi.Residue]) -> Residue:
    """Return one residue with one location of every atom: of the conformer with the highest mean occupancy."""
    best, chosen, highest = alternatives[0], "\0", -1.0
    for residue in alternatives:
        for location in dict.fromkeys(atom.altloc for atom in residue if atom.has_altloc()) or ["\0"]:
            occupancies = [atom.occ for atom in residue if atom.altloc == location]
            if (mean := sum(occupancies) / len(occupancies)) > highest:
                best, chosen, highest = residue, location, mean
    atoms: dict[str, gemmi.Atom] = {}
    for atom in best:
        if not atom.has_altloc() or atom.altloc == chosen:
            known = atoms.get(atom.name)
            atoms[atom.name] = atom if known is None or atom.occ > known.occ else known
    number = best.seqid.num
    places = {name: (atom.pos.x, atom.pos.y, atom.pos.z) for name, atom in atoms.items()}
    return Residue(best.name, 0 if number is None else number, places)
