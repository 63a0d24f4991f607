"""``dataset=contact`` and ``dataset=demo_contact``: which proteins, which contacts, and what is refused."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.backbones import read_folder
from plmdepth.proteins.datasets.contact import ChainContactDataset, DemoContactDataset
from plmdepth.proteins.grammar.sampling import sample_proteins


@pytest.fixture
def folder(shared_data: Path) -> Path:
    return shared_data / "structures" / "pdb_ec_test"


def of(root: Path, **options: Any) -> ChainContactDataset:
    return ChainContactDataset(name="contact", root=str(root), **options)


def test_real_chains_are_divided_and_their_contacts_are_those_of_their_coordinates(folder: Path) -> None:
    task = of(folder).load_task(1022, seed=0)
    assert {split: len(members) for split, members in task.splits.items()} == {"train": 6, "valid": 6, "test": 6}
    assert dict(task.dropped) == {}
    chains = {chain.id: chain for chain in read_folder(folder)}
    for each in sum(task.splits.values(), ()):
        chain = chains[each.protein.id]
        assert each.protein.sequence == chain.sequence
        distance = np.linalg.norm(chain.beta[:, None] - chain.beta[None], axis=-1)
        expected = {(i, j) for i, j in zip(*np.nonzero(distance < 8), strict=True) if i < j}
        assert {tuple(pair) for pair in each.contacts.tolist()} == expected
        assert 1.5 < len(expected) / len(chain.sequence) < 7
        assert np.array_equal(each.places, chain.places)


def test_a_sequence_is_on_one_side_alone(folder: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted(folder.glob("*.pdb"))[:4]):
        for copy in "ab":
            shutil.copy(path, tmp_path / f"{number}{copy}.pdb")
    for seed in range(5):
        task = of(tmp_path).load_task(1022, seed)
        assert {each.protein.id for each in sum(task.splits.values(), ())} == {"0a", "1a", "2a", "3a"}
        assert dict(task.dropped) == {"same sequence as another chain": 4}


def test_chains_that_are_the_same_once_they_are_cut_are_one(folder: Path, tmp_path: Path) -> None:
    for path in sorted(folder.glob("*.pdb"))[:3]:
        shutil.copy(path, tmp_path)
    source = sorted(folder.glob("*.pdb"))[0]
    lines = source.read_text().splitlines()
    last = [line for line in lines if line.startswith("ATOM")][-1][22:27]
    (tmp_path / "zz.pdb").write_text("\n".join(line for line in lines if line[22:27] != last))
    assert len(sum(of(tmp_path).load_task(1022, 0).splits.values(), ())) == 4
    cut = of(tmp_path, length_policy="truncate", max_length=60).load_task(1022, 0)
    assert len(sum(cut.splits.values(), ())) == 3
    assert cut.dropped["same sequence as another chain"] == 1


def test_short_chains_are_left_out_and_counted_or_refused(folder: Path) -> None:
    task = of(folder, min_length=110).load_task(1022, seed=0)
    kept = sum(task.splits.values(), ())
    assert min(len(each.protein) for each in kept) >= 110
    assert dict(task.dropped) == {"shorter than 110 residues": 18 - len(kept)}
    with pytest.raises(
        InputError, match=r"1L3E-B has 101 residues, fewer than dataset\.min_length=110; take it out or"
    ):
        of(folder, min_length=110, invalid="error").load_task(1022, seed=0)


def test_a_folder_with_too_few_chains_is_refused_in_one_line(folder: Path, shared_data: Path, tmp_path: Path) -> None:
    examples = shared_data / "structures" / "deepfri_examples"
    with pytest.raises(InputError, match=r"train, valid and test need a chain each, and 2 of 2 are left; give dataset"):
        of(examples).load_task(1022, 0)
    with pytest.raises(InputError, match=r"and 0 of 18 are left, 18 shorter than 900 residues; give dataset\.root"):
        of(folder, min_length=900).load_task(1022, 0)
    with pytest.raises(InputError, match=r"no such folder: .*nowhere; give dataset\.root a folder with PDB or mmCIF"):
        of(tmp_path / "nowhere").load_task(1022, 0)
    with pytest.raises(InputError, match="holds no structure file"):
        of(tmp_path).load_task(1022, 0)


def test_couplings_of_the_grammar_are_contacts_24_or_32_residues_apart() -> None:
    demo = DemoContactDataset(name="mine", train_proteins=3, valid_proteins=4, test_proteins=5)
    task = demo.load_task(1022, seed=0)
    for split, size in (("train", 3), ("valid", 4), ("test", 5)):
        for each, written in zip(task.splits[split], sample_proteins(0, split, size), strict=True):
            assert each.protein.sequence == written.sequence
            assert [tuple(pair) for pair in each.contacts.tolist()] == list(written.contacts)
            assert set((each.contacts[:, 1] - each.contacts[:, 0]).tolist()) <= {24, 32}


def test_contacts_follow_truncation_and_a_limit() -> None:
    demo = DemoContactDataset(name="mine", test_proteins=5, length_policy="truncate", limit=2)
    task = demo.load_task(70, seed=0)
    assert [len(members) for members in task.splits.values()] == [2, 2, 2]
    for each in sum(task.splits.values(), ()):
        assert len(each.protein) == 70
        assert (each.contacts < 70).all()


@pytest.mark.parametrize("option", ["train_proteins", "valid_proteins", "test_proteins"])
def test_a_number_below_one_is_refused_by_name(option: str) -> None:
    with pytest.raises(InputError, match=rf"dataset\.{option} must be at least 1, got 0"):
        DemoContactDataset(name="mine", **{option: 0})
