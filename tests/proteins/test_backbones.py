"""Chains from structure files: a published reference for 3Di, real files, and what is refused."""

import gzip
import shutil
from pathlib import Path

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
    (tmp_path / "broken.cif").write_text("data_x\nloop_\n_atom_site.id\n")
    with pytest.raises(InputError, match=r"cannot read a structure from .*broken\.cif: [^\n]+$"):
        list(read_folder(tmp_path))
