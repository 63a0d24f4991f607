"""Coordinates of backbones: from a file to the proteins, and what becomes of them on the way."""

from pathlib import Path

import numpy as np
import pytest

from plmdepth.controls.shuffled_residues import ShuffledResidues
from plmdepth.proteins.backbones import read_chains, read_folder
from plmdepth.proteins.datasets.structures import StructuresDataset
from plmdepth.proteins.protein import Backbone, Protein
from plmdepth.proteins.selection import ProteinSet
from tests.stacks import walk

ATOMS = """\
HETATM    1 CA    CA A   1       9.000   9.000   9.000  1.00  0.00          CA
ATOM      2  N   MET A   5       1.000   2.000   3.000  1.00  0.00           N
ATOM      3  CA  MET A   5       2.000   2.000   3.000  1.00  0.00           C
ATOM      4  C   MET A   5       3.000   2.000   3.000  1.00  0.00           C
ATOM      5  O   MET A   5       4.000   2.000   3.000  1.00  0.00           O
ATOM      6  CA  LYS A   7       5.000   2.000   3.000  1.00  0.00           C
ATOM      7  CB  LYS A   7       5.000   3.000   3.000  1.00  0.00           C
ATOM      8  C   THR A   7A      7.000   2.000   3.000  1.00  0.00           C
ATOM      9  N   THR A   7A      6.000   2.000   3.000  1.00  0.00           N
ATOM     10  CA  THR A   7A      6.500   2.000   3.000  1.00  0.00           C
END
"""


def digest(*backbones: Backbone | None) -> str:
    proteins = tuple(Protein(str(k), "MKTV", backbone=each) for k, each in enumerate(backbones))
    return ProteinSet(proteins, (), {}).digest


def test_every_residue_has_its_own_atoms_and_nan_for_those_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.pdb").write_text(ATOMS)
    (chain,) = read_chains(tmp_path / "a.pdb")
    assert chain.sequence == "MKT"
    x = [[1, 2, 3], [np.nan, 5, np.nan], [6, 6.5, 7]]  # N, CA and C, in whatever order the file has them
    np.testing.assert_array_equal(chain.backbone[..., 0], np.array(x, dtype=np.float32))
    assert np.isnan(chain.backbone[1, 0]).all()
    np.testing.assert_array_equal(chain.backbone[0, 1], [2, 2, 3])


def test_chains_of_real_files_have_backbones_of_the_right_geometry(shared_data: Path) -> None:
    for chain in read_folder(shared_data / "structures" / "mmcif"):
        nitrogen, alpha, carbon = chain.backbone.transpose(1, 0, 2)
        assert chain.backbone.shape == (len(chain.sequence), 3, 3)
        assert np.isfinite(chain.backbone).all((1, 2)).mean() > 0.95
        assert np.nanmedian(np.linalg.norm(nitrogen - alpha, axis=1)) == pytest.approx(1.46, abs=0.03)
        assert np.nanmedian(np.linalg.norm(carbon - alpha, axis=1)) == pytest.approx(1.52, abs=0.04)
        assert np.nanmedian(np.linalg.norm(carbon[:-1] - nitrogen[1:], axis=1)) == pytest.approx(1.33, abs=0.03)


def test_a_dataset_of_structures_gives_coordinates_and_truncates_them(tmp_path: Path) -> None:
    (tmp_path / "a.pdb").write_text(ATOMS)
    dataset = StructuresDataset(name="structures", path=str(tmp_path), max_length=2, length_policy="truncate")
    (protein,) = dataset.proteins(100, seed=0).proteins
    assert protein.sequence == "MK"
    assert protein.backbone is not None
    assert protein.backbone[:, 1, 0].tolist() == [2, 5]
    assert protein.structure_tokens is not None
    assert len(protein.structure_tokens) == 2


def test_of_two_chains_of_one_id_the_structure_is_that_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "a.ent").write_text(ATOMS)
    (tmp_path / "a.pdb").write_text(ATOMS.replace("   2.000   3.000  1.00", "   8.000   3.000  1.00"))
    found = StructuresDataset(name="structures", path=str(tmp_path)).proteins(100, seed=0)
    assert len(found.proteins) == len(found.skipped) == 1
    assert found.proteins[0].backbone is not None
    assert found.proteins[0].backbone[0, 0].tolist() == [1, 2, 3]


def test_coordinates_are_read_only_and_one_for_every_atom() -> None:
    protein = Protein("a", "MKTV", backbone=walk(4))
    assert protein.backbone is not None
    with pytest.raises(ValueError, match="read-only"):
        protein.backbone[0] = 0
    with pytest.raises(ValueError, match=r"^3 residues, and coordinates of the shape \(4, 3, 3\)$"):
        Protein("a", "MKT", backbone=walk(4))
    assert len({protein, Protein("a", "MKTV")}) == 1


def test_the_identity_of_the_data_holds_coordinates_where_there_are_any() -> None:
    assert digest(walk(4)) == digest(walk(4)) != digest(walk(4, seed=1))
    assert digest(None) != digest(walk(4))
    bare = Protein("0", "MKTV", backbone=walk(4)).keeping(tokens=True, backbone=False)
    assert ProteinSet((bare,), (), {}).digest == digest(None)


def test_a_backbone_is_known_where_one_residue_is_complete() -> None:
    alpha = walk(4).copy()
    alpha[:, 0] = np.nan
    assert not Protein("a", "MKTV", backbone=alpha).has_backbone
    assert not Protein("a", "MKTV").has_backbone
    assert Protein("a", "MKTV", backbone=walk(4)).has_backbone


def test_a_shuffled_residue_stays_where_it_is_in_space() -> None:
    protein = Protein("a", "ACDEFGHIKLMN", backbone=walk(12))
    (shuffled,) = ShuffledResidues().proteins([protein], seed=0)
    assert shuffled.sequence != protein.sequence
    assert shuffled.backbone is not None
    assert protein.backbone is not None
    assert not shuffled.backbone.flags.writeable
    for letter, place in zip(shuffled.sequence, shuffled.backbone, strict=True):
        np.testing.assert_array_equal(place, protein.backbone[protein.sequence.index(letter)])
