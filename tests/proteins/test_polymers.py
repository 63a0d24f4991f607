"""Which residues are a chain: small files whose right sequence is known, and the same chain with more around it."""

import gzip
from collections.abc import Iterable
from pathlib import Path

import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.backbones import read_chains, read_folder
from plmdepth.proteins.datasets.contact import ChainContactDataset
from plmdepth.proteins.datasets.structures import StructuresDataset
from plmdepth.proteins.protein import Skipped

SHIFT = {"N": 0.0, "CA": 1.4, "CB": 1.9, "C": 2.5}
"""Where the atoms of a residue are along x; the next residue begins 3.8 further, so C and N are 1.3 apart."""


def atom(kind: str, name: str, residue: str, number: int, x: float, more: str = " ", occupancy: str = "  1.00") -> str:
    return f"{kind:<6}    1  {name:<3}{more}{residue:>3} A{number:>4}    {x:>8.3f}{0:>8.3f}{0:>8.3f}{occupancy}  0.00"


def residue(kind: str, name: str, number: int, x: float, altlocs: dict[str, str] | None = None) -> list[str]:
    """Return a residue's lines, once for every alternate location with its occupancy."""
    return [
        atom(kind, each, name, number, x + shift, more, occupancy)
        for more, occupancy in (altlocs or {" ": "  1.00"}).items()
        for each, shift in SHIFT.items()
    ]


def chain(*names: str, kinds: dict[int, str] | None = None) -> list[str]:
    found = [residue((kinds or {}).get(k, "ATOM"), name, k, 3.8 * k) for k, name in enumerate(names, start=1)]
    return [line for lines in found for line in lines]


def sequences(folder: Path, lines: Iterable[str], name: str = "made.pdb") -> list[str]:
    path = folder / name
    path.write_text("\n".join([*lines, "END", ""]), encoding="latin-1")
    return [each.sequence for each in read_chains(path)]


FOUR = ("ALA", "LYS", "THR", "TRP")
LIGAND = residue("HETATM", "GLU", 301, 500.0)
MASKED_LIGAND = residue("ATOM", "GLU", 301, 500.0)
END_OF_CHAIN = [atom("ATOM", "OXT", "TRP", 4, 18.5)]
SEQRES = ["SEQRES   1 A    4  ALA LYS THR TRP"]


@pytest.mark.parametrize(
    "lines",
    [
        [*chain(*FOUR), "TER", *LIGAND],
        [*chain(*FOUR), *LIGAND],
        [*chain(*FOUR), *LIGAND, *residue("HETATM", "GLY", 302, 600.0)],
        [*chain(*FOUR), "TER", *MASKED_LIGAND],
        [*SEQRES, *chain(*FOUR), *MASKED_LIGAND],
        [*chain(*FOUR), *END_OF_CHAIN, *MASKED_LIGAND],
        [*chain(*FOUR), *LIGAND, atom("HETATM", "O", "HOH", 401, 700.0)],
    ],
    ids=["after TER", "no TER", "two", "as ATOM after TER", "beyond SEQRES", "after OXT", "with water"],
)
def test_an_amino_acid_that_is_bound_as_a_ligand_is_no_residue(tmp_path: Path, lines: list[str]) -> None:
    assert sequences(tmp_path, lines) == ["AKTW"]


@pytest.mark.parametrize("terminus", [[], ["TER"]])
def test_a_residue_that_no_dictionary_knows_is_an_x_in_its_place(tmp_path: Path, terminus: list[str]) -> None:
    strange = chain("ALA", "Q9Z", "THR", "SEP", kinds={2: "HETATM", 4: "HETATM"})
    assert sequences(tmp_path, [*strange, *terminus]) == ["AXTX"]
    assert sequences(tmp_path, [*chain("MSE", "LYS", "MSE", kinds={1: "HETATM", 3: "HETATM"}), *terminus]) == ["MKM"]


def test_a_part_of_a_chain_beyond_a_gap_belongs_to_it(tmp_path: Path) -> None:
    beyond = [*residue("ATOM", "GLY", 90, 400.0), *residue("ATOM", "TRP", 91, 403.8)]
    assert sequences(tmp_path, [*chain("ALA", "LYS"), *beyond]) == ["AKGW"]
    assert sequences(tmp_path, [*chain("ALA", "LYS"), *residue("ATOM", "TRP", 91, 400.0)]) == ["AKW"]


def test_a_residue_told_by_modres_is_one_though_nothing_binds_it(tmp_path: Path) -> None:
    lines = ["MODRES 1ABC SEP A   90  SER", *chain("ALA", "LYS"), *residue("HETATM", "SEP", 90, 400.0)]
    assert sequences(tmp_path, lines) == ["AKX"]


@pytest.mark.parametrize("names", ["AB", "12", "ZA", "19"])
@pytest.mark.parametrize(("occupancies", "kept"), [((0.3, 0.7), 1), ((0.7, 0.3), 0), ((0.5, 0.5), 0)])
def test_the_location_of_the_highest_occupancy_counts_whatever_its_name(
    tmp_path: Path, names: str, occupancies: tuple[float, float], kept: int
) -> None:
    places = [
        atom("ATOM", each, "LYS", 2, 3.8 + shift + 0.1 * k, names[k], f"{occupancies[k]:>6.2f}")
        for each, shift in SHIFT.items()
        for k in range(2)
    ]
    (tmp_path / "a.pdb").write_text("\n".join([*chain("ALA"), *places, *residue("ATOM", "TRP", 3, 7.6), "END", ""]))
    (found,) = read_chains(tmp_path / "a.pdb")
    assert found.sequence == "AKW"
    assert found.backbone[1, 1, 0] == pytest.approx(5.2 + 0.1 * kept)


@pytest.mark.parametrize(("serine", "threonine", "expected"), [(0.4, 0.6, "ATW"), (0.6, 0.4, "ASW"), (0.5, 0.5, "ASW")])
def test_of_two_residues_in_one_place_the_more_occupied_counts(
    tmp_path: Path, serine: float, threonine: float, expected: str
) -> None:
    both = [
        *residue("ATOM", "SER", 2, 7.6, {"1": f"{serine:>6.2f}"}),
        *residue("ATOM", "THR", 2, 7.6, {"2": f"{threonine:>6.2f}"}),
    ]
    assert sequences(tmp_path, [*chain("ALA"), *both, *residue("ATOM", "TRP", 3, 11.4)]) == [expected]


@pytest.mark.parametrize("length", [54, 60, 66])
def test_lines_may_end_before_occupancy_or_element(tmp_path: Path, length: int) -> None:
    assert sequences(tmp_path, [line[:length] for line in chain(*FOUR)]) == ["AKTW"]
    assert sequences(tmp_path, [line[:54] + " " * 26 for line in chain(*FOUR)]) == ["AKTW"]


def test_files_of_the_nineties_name_themselves_in_the_last_columns(tmp_path: Path) -> None:
    old = [f"{line:<72}1GDR{number:>4}" for number, line in enumerate(chain(*FOUR), start=88)]
    assert sequences(tmp_path, old) == ["AKTW"]


def test_a_remark_may_be_latin_1(tmp_path: Path) -> None:
    assert sequences(tmp_path, ["REMARK   1 AUTH   M\xfcller", *chain(*FOUR)]) == ["AKTW"]


@pytest.mark.parametrize("name", ["a.pdb1", "a.PDB", "a.ent", "a.pdb.GZ", "a.ent.gz", "a.pdb2.gz"])
def test_names_of_structure_files_are_known_in_all_their_forms(tmp_path: Path, name: str) -> None:
    content = "\n".join([*chain(*FOUR), "END", ""]).encode()
    (tmp_path / name).write_bytes(gzip.compress(content, mtime=0) if name.lower().endswith("gz") else content)
    assert [(each.id, each.sequence) for each in read_folder(tmp_path)] == [("a", "AKTW")]


def folder_with_odd_files(folder: Path) -> None:
    sequences(folder, chain(*FOUR, *FOUR), "good.pdb")
    sequences(folder, chain(*FOUR, "GLY"), "other.pdb")
    sequences(folder, chain(*FOUR, "PRO"), "third.pdb")
    (folder / "dna.pdb").write_text("\n".join(atom("ATOM", "P", " DA", k, 3.0 * k) for k in (1, 2)))
    (folder / "empty.pdb").touch()
    (folder / "empty.cif").touch()
    (folder / "broken.cif").write_text("data_x\nloop_\n_atom_site.id\n")
    (folder / "notes.txt").write_text("not a structure")


@pytest.mark.parametrize("name", ["structures", "contact"])
def test_files_without_a_chain_are_skipped_and_counted(tmp_path: Path, name: str) -> None:
    folder_with_odd_files(tmp_path)
    of = {
        "structures": lambda **more: StructuresDataset(name=name, path=str(tmp_path), **more),
        "contact": lambda **more: ChainContactDataset(name=name, root=str(tmp_path), min_length=1, **more),
    }[name]
    found = of().proteins(100, seed=0)
    assert sorted(each.sequence for each in found.proteins) == ["AKTWAKTW", "AKTWG", "AKTWP"]
    assert sorted(each.id for each in found.skipped) == ["broken.cif", "dna.pdb", "empty.cif", "empty.pdb"]
    assert {each.kind for each in found.skipped} == {"no protein chain in a file"}
    (note,) = found.notes
    assert "1 files of" in note
    assert "notes.txt" in note
    with pytest.raises(InputError, match=r"broken\.cif[^\n]+; take it out or use dataset\.invalid=skip$"):
        of(invalid="error").proteins(100, seed=0)


def test_contacts_count_the_files_that_were_skipped(tmp_path: Path) -> None:
    folder_with_odd_files(tmp_path)
    task = ChainContactDataset(name="contact", root=str(tmp_path), min_length=1).load_task(100, seed=0)
    assert dict(task.dropped) == {"no protein chain in a file": 4}
    assert len(task.notes) == 1


def test_a_folder_in_which_no_file_holds_a_chain_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty.pdb").touch()
    with pytest.raises(
        InputError, match="all 1 records were skipped, the first because of: no protein chain in a file"
    ):
        StructuresDataset(name="structures", path=str(tmp_path)).proteins(100, seed=0)
    skipped: list[Skipped] = []
    assert list(read_folder(tmp_path, skipped=skipped)) == []
    assert [each.id for each in skipped] == ["empty.pdb"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, ["SMTDLLSAEDIKKAIGAFTAADSFDHKKFF"]) for name in ("plain", "no_occ", "altloc_letters", "mse")),
        *((name, ["SMTDLLSAEDIKKAIGAFTAADSFDHKKFF"]) for name in ("altloc_digits", "ligand_glu", "icode_1nsa")),
        ("ptm", ["SMTXLLSAXDIKKAIGAFTAADSFDHKKFF"]),
        ("dna_only", []),
        ("header_only", []),
    ],
)
def test_the_cases_of_users_have_their_right_sequences(shared_data: Path, name: str, expected: list[str]) -> None:
    path = shared_data / "cases" / "pdb" / f"{name}.pdb"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    if expected:
        assert [each.sequence for each in read_chains(path)] == expected
        return
    with pytest.raises(InputError, match="holds no chain of amino acids"):
        list(read_chains(path))
