"""Chains from structure files: a published reference for 3Di, real files, and what is refused."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.backbones import LETTERS, read_chains, read_folder
from plmdepth.proteins.fasta import read_fasta


@pytest.fixture
def structures(shared_data: Path) -> Path:
    return shared_data / "structures"


def test_the_letters_are_those_that_foldseek_gives(shared_data: Path) -> None:
    folder = shared_data / "structure_tokens_3di"
    reference = {name.lower(): text.lower() for name, text in read_fasta(folder / "i3d.fasta")}
    (chain,) = read_chains(folder / "1aki.cif")
    theirs = next(text for name, text in reference.items() if name.startswith("1aki"))
    assert chain.three_di == theirs


def test_a_chain_whose_numbers_fall_is_one_chain(shared_data: Path) -> None:
    folder = shared_data / "structure_tokens_3di"
    theirs = next(text for name, text in read_fasta(folder / "i3d.fasta") if name.lower().startswith("1dix"))
    (chain,) = read_chains(folder / "1dix.cif")
    assert chain.three_di == theirs.lower()
    assert len(chain.sequence) == len(chain.places) == 208


def test_every_chain_of_a_folder_has_a_letter_a_residue(structures: Path) -> None:
    chains = list(read_folder(structures / "mmcif"))
    assert [chain.id for chain in chains] == ["2q2k-A", "2q2k-B", "3zee", "4i6p-A", "4i6p-B"]
    for chain in chains:
        assert len(chain.sequence) == len(chain.three_di)
        assert set(chain.three_di) <= set(LETTERS)


def test_residues_are_those_of_the_sequence_where_all_are_resolved(structures: Path) -> None:
    folder = structures / "pdb_ec_test"
    whole = dict(read_fasta(folder / "seqres.fasta"))
    found = {chain.id: chain.sequence for chain in read_folder(folder)}
    assert len(found) == 18
    assert sum(found[name] == sequence for name, sequence in whole.items()) >= 12
    assert all(len(found[name]) <= len(sequence) for name, sequence in whole.items())


def test_a_gzipped_file_is_read_as_it_is(structures: Path, tmp_path: Path) -> None:
    source = structures / "mmcif" / "3zee.cif"
    (tmp_path / "3zee.cif.gz").write_bytes(gzip.compress(source.read_bytes(), mtime=0))
    assert list(read_folder(tmp_path)) == list(read_chains(source))


def test_other_files_of_a_folder_are_left_alone(structures: Path, tmp_path: Path) -> None:
    shutil.copy(structures / "mmcif" / "3zee.cif", tmp_path)
    (tmp_path / "notes.txt").write_text("not a structure")
    assert [chain.id for chain in read_folder(tmp_path)] == ["3zee"]


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such folder: .*; give dataset\.path a folder with PDB or mmCIF files"):
        list(read_folder(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="holds no structure file; expected names that end in"):
        list(read_folder(tmp_path))
    (tmp_path / "broken.cif").write_text("data_x\nloop_\n_atom_site.id 1\n")
    with pytest.raises(
        InputError,
        match=r".*broken\.cif[^\n]+; take it out or use [^\n]+$",
    ):
        list(read_folder(tmp_path))


def atom_line(serial: int, name: str, residue: str, number: str, position: tuple[float, float, float]) -> str:
    """Return one line of a PDB file; ``number`` ends in the insertion code or a space."""
    x, y, z = position
    place = f"{x:>8.3f}{y:>8.3f}{z:>8.3f}"
    return f"ATOM  {serial:>5}  {name:<3} {residue} A{number:>5}   {place}  1.00  0.00           {name[0]}"


def chain_file(
    folder: Path, residues: list[tuple[str, str, float]], atoms: tuple[str, ...] = ("N", "CA", "C", "CB")
) -> Path:
    """Write a chain along x: of every residue its name, its number with insertion code, and where it begins."""
    lines, shift = [], {"N": 0.0, "CA": 1.4, "CB": 1.9, "C": 2.5}
    for name, number, start in residues:
        for atom in atoms:
            if not (atom == "CB" and name == "GLY"):
                lines.append(atom_line(len(lines) + 1, atom, name, number, (start + shift[atom], 0.0, 0.0)))
    path = folder / "made.pdb"
    path.write_text("\n".join([*lines, "END", ""]))
    return path


def places_of(folder: Path, *residues: tuple[str, float]) -> list[int]:
    (chain,) = read_chains(chain_file(folder, [("ALA", number, start) for number, start in residues]))
    assert len(chain.sequence) == len(chain.three_di) == len(residues)
    return chain.places.tolist()


def test_bound_residues_stand_side_by_side_whatever_their_numbers(tmp_path: Path) -> None:
    bound = [3.8 * k for k in range(6)]
    for numbers in (["-2 ", "-1 ", "0 ", "1 ", "2 ", "3 "], ["52 ", "52A", "52B", "53 ", "60 ", "7 "]):
        assert places_of(tmp_path, *zip(numbers, bound, strict=True)) == [0, 1, 2, 3, 4, 5]


def test_where_there_is_no_bond_the_numbers_say_how_many_residues_are_missing(tmp_path: Path) -> None:
    assert places_of(tmp_path, ("-3 ", 0), ("2 ", 30), ("3 ", 33.8), ("3A", 60), ("1 ", 90)) == [0, 5, 6, 7, 8]


def test_beta_is_alpha_where_there_is_none_and_nowhere_without_both(tmp_path: Path) -> None:
    residues = [("ALA", "1 ", 0.0), ("GLY", "2 ", 3.8), ("TRP", "3 ", 7.6)]
    (whole,) = read_chains(chain_file(tmp_path, residues))
    assert whole.beta[:, 0].tolist() == pytest.approx([1.9, 5.2, 9.5])
    (alpha,) = read_chains(chain_file(tmp_path, residues, ("CA",)))
    assert alpha.beta[:, 0].tolist() == pytest.approx([1.4, 5.2, 9.0])
    assert alpha.places.tolist() == [0, 1, 2]
    (neither,) = read_chains(chain_file(tmp_path, residues, ("N", "C")))
    assert np.isnan(neither.beta).all()


def test_places_count_the_residues_that_a_real_chain_lacks(structures: Path) -> None:
    gaps = {chain.id: chain.places[-1] + 1 - len(chain.sequence) for chain in read_folder(structures / "pdb_ec_test")}
    assert {name: missing for name, missing in gaps.items() if missing} == {"1C41-A": 30, "2WO1-A": 3, "4PBV-A": 4}


def test_distances_are_the_published_ones(structures: Path) -> None:
    (chain,) = read_chains(structures / "deepfri_examples" / "1S3P-A.pdb")
    published = np.load(structures / "deepfri_examples" / "1S3P-A.npz", allow_pickle=False)
    assert chain.sequence == str(published["seqres"])
    alpha = chain.backbone[:, 1]
    other = np.array(list(chain.sequence)) != "G"  # theirs has a made-up C-beta, 1.52 from the C-alpha that we take
    for ours, theirs, compared in ((alpha, "C_alpha", slice(None)), (chain.beta, "C_beta", other)):
        apart = np.abs(np.linalg.norm(ours[:, None] - ours[None], axis=-1) - published[theirs])
        assert apart[compared][:, compared].max() < 1e-5
        assert apart.max() < 1.6
