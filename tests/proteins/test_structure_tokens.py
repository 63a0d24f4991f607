"""Structure tokens in DPLM-2's file format, and on their way to the proteins."""

import gzip
from pathlib import Path

import pytest
from biotite.sequence.io.fasta import FastaFile

from plmdepth.controls.shuffled_residues import ShuffledResidues
from plmdepth.errors import InputError
from plmdepth.proteins.datasets.fasta import FastaDataset
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.selection import ProteinSet, Rules, Structures, select
from plmdepth.proteins.structure_tokens import read_structure_tokens

RULES = Rules(max_length=100)


def written(folder: Path, text: str, name: str = "struct.fasta") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_codes_are_read_by_the_first_word_of_the_header(tmp_path: Path) -> None:
    path = written(tmp_path, ">1abc_A of something\n0042,8191,0007\n>b\n0000\n")
    assert read_structure_tokens(path) == {"1abc_A": (42, 8191, 7), "b": (0,)}


def test_codes_that_the_published_script_broke_at_80_characters_are_read_whole(tmp_path: Path) -> None:
    codes = tuple(37 * k % 8192 for k in range(300))
    path = tmp_path / "struct_seq.fasta"
    FastaFile.write_iter(str(path), [("long", ",".join(f"{code:04d}" for code in codes))])
    assert len(path.read_text().splitlines()) > 10
    assert read_structure_tokens(path) == {"long": codes}


def test_a_gzipped_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "struct.fasta.gz"
    path.write_bytes(gzip.compress(b">a\n0001, 0002\n"))
    assert read_structure_tokens(path) == {"a": (1, 2)}


@pytest.mark.parametrize("word", ["8192", "-1", "MKTV", "1.5", "", "<mask_struct>", "٣"])
def test_anything_but_a_code_is_refused_by_record_and_position(tmp_path: Path, word: str) -> None:
    path = written(tmp_path, f">a\n0001\n>b\n0002,{word},0003\n")
    with pytest.raises(
        InputError, match=r"in record b \(position 2\) is no structure token; expected numbers from 0 to"
    ):
        read_structure_tokens(path)


def test_two_records_with_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds structure tokens of a twice"):
        read_structure_tokens(written(tmp_path, ">a\n0001\n>a\n0002\n"))


def test_a_missing_file_is_named_with_its_own_option(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"give dataset\.structure_tokens an existing FASTA file"):
        read_structure_tokens(tmp_path / "no.fasta")


def test_a_dataset_gives_every_protein_its_codes(tmp_path: Path) -> None:
    path = written(tmp_path, ">a\nmkt*\n>b\nAC\n>c\nGG\n", "aatype.fasta")
    codes = written(tmp_path, ">b\n0005,0006\n>a\n0001,0002,0003\n>other\n0009\n")
    dataset = FastaDataset(name="fasta", path=str(path), structure_tokens=str(codes))
    found = dataset.proteins(model_limit=100, seed=0)
    assert {protein.id: protein.structure_tokens for protein in found.proteins} == {"a": (1, 2, 3), "b": (5, 6)}
    assert [(record.id, record.reason) for record in found.skipped] == [("c", "no structure tokens")]
    alone = FastaDataset(name="fasta", path=str(path)).proteins(model_limit=100, seed=0)
    assert {protein.structure_tokens for protein in alone.proteins} == {None}


def test_a_protein_with_another_number_of_codes_is_left_out_or_refused() -> None:
    records, structures = [("a", "MKT"), ("b", "MK")], Structures("dplm2", {"a": (1, 2), "b": (3, 4)})
    found = select(records, RULES, structures)
    assert [protein.id for protein in found.proteins] == ["b"]
    assert found.skipped[0].reason == "as many structure tokens as residues are needed (2, 3)"
    with pytest.raises(InputError, match="record a: as many structure tokens as residues"):
        select(records, Rules(max_length=100, invalid="error"), structures)


def test_codes_are_truncated_with_the_residues() -> None:
    codes = Structures("dplm2", {"a": (1, 2, 3, 4)})
    found = select([("a", "MKTV")], Rules(max_length=2, length_policy="truncate"), codes)
    assert found.proteins == (Protein("a", "MK", structure_tokens=(1, 2)),)


def test_the_identity_of_the_data_holds_the_codes_where_there_are_any() -> None:
    def digest(*codes: tuple[int, ...] | None) -> str:
        proteins = tuple(Protein(str(k), "MK", structure_tokens=each) for k, each in enumerate(codes))
        return ProteinSet(proteins, (), {}).digest

    assert digest((1, 2)) == digest((1, 2)) != digest((1, 3))
    assert digest(None) != digest((1, 2))
    assert ProteinSet((Protein("0", "MK"),), (), {}).digest == digest(None)


def test_a_shuffled_residue_takes_its_code_with_it() -> None:
    protein = Protein("a", "ACDEFGHIKLMN", structure_tokens=tuple(range(12)), structure_alphabet="3di")
    (shuffled,) = ShuffledResidues().proteins([protein], seed=0)
    assert shuffled.sequence != protein.sequence
    assert shuffled.structure_alphabet == "3di"
    assert shuffled.structure_tokens is not None
    assert "".join(protein.sequence[code] for code in shuffled.structure_tokens) == shuffled.sequence


def test_without_its_structure_a_protein_is_its_residues() -> None:
    protein = Protein("a", "MK", structure_tokens=(1, 2), structure_alphabet="3di")
    assert protein.keeping(tokens=True, backbone=False) == protein
    bare = protein.keeping(tokens=False, backbone=False)
    assert bare == Protein("a", "MK")
    assert ProteinSet((bare,), (), {}).digest == ProteinSet((Protein("a", "MK"),), (), {}).digest
    assert protein.sha256 == Protein("a", "MK").sha256
