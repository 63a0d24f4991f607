"""Contacts and how proteins are divided, against loops and by (seed, id) alone."""

import math
from dataclasses import replace

import numpy as np
import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.tasks.contacts import ContactProtein, ContactTask, contacts_of, divided, without_copies
from tests.probes.contacts.planted import protein


def chain(name: str, sequence: str = "") -> ContactProtein:
    sequence = sequence or f"MK{'ACDEFGHIKL'[int(name[1:]) % 10]}{'A' * int(name[1:])}"
    length = len(sequence)
    empty = np.zeros((0, 2), dtype=np.int64)
    return ContactProtein(Protein(name, sequence), empty, np.ones(length, dtype=bool), np.arange(length))


def test_contacts_are_pairs_closer_than_eight_angstrom_and_none_with_a_residue_that_is_nowhere() -> None:
    generator = np.random.default_rng(0)
    beta = generator.normal(scale=8, size=(40, 3)).astype(np.float32)
    beta[7] = np.nan
    expected = [[i, j] for i in range(40) for j in range(i + 1, 40) if math.dist(beta[i], beta[j]) < 8]
    assert len(expected) > 20
    assert contacts_of(beta).tolist() == expected
    assert contacts_of(np.array([[0, 0, 0], [8, 0, 0], [0, 7.9, 0]], dtype=np.float32)).tolist() == [[0, 2]]


def test_pairs_are_those_far_enough_along_the_chain_and_known() -> None:
    each = protein(0, 30)
    places = np.arange(30) + 10 * (np.arange(30) >= 15)  # ten residues are not resolved
    known = np.arange(30) != 4
    pairs = replace(each, places=places, known=known).pairs(6)
    touching = {(int(i), int(j)) for i, j in each.contacts}
    expected = [
        (i, j, int(places[j] - places[i]), (i, j) in touching)
        for i in range(30)
        for j in range(i + 1, 30)
        if places[j] - places[i] >= 6 and 4 not in (i, j)
    ]
    assert list(zip(*(column.tolist() for column in pairs), strict=True)) == expected
    assert any(j - i < 6 for i, j, *_ in expected)  # across the gap


def test_a_cut_protein_keeps_the_contacts_of_its_beginning() -> None:
    each = protein(0)
    cut = each.cut_to(Protein("p0", each.protein.sequence[:35]))
    assert cut.contacts.tolist() == [pair for pair in each.contacts.tolist() if pair[1] < 35]
    assert len(cut.known) == len(cut.places) == 35


def test_proteins_are_divided_by_seed_and_id_alone() -> None:
    proteins = [chain(f"c{number}") for number in range(30)]
    splits = divided(proteins, 8, 5, seed=0)
    names = {split: [each.protein.id for each in members] for split, members in splits.items()}
    assert {split: len(members) for split, members in names.items()} == {"train": 8, "valid": 5, "test": 17}
    assert sorted(name for members in names.values() for name in members) == sorted(
        each.protein.id for each in proteins
    )
    others = divided([replace(each, protein=Protein(each.protein.id, "MKV")) for each in reversed(proteins)], 8, 5, 0)
    assert {split: [each.protein.id for each in members] for split, members in others.items()} == names
    assert {each.protein.id for each in divided(proteins, 8, 5, seed=1)["train"]} != set(names["train"])


@pytest.mark.parametrize(("n", "sizes"), [(3, [1, 1, 1]), (18, [6, 6, 6]), (61, [20, 20, 21]), (5, [1, 1, 3])])
def test_train_and_valid_leave_a_third_to_test(n: int, sizes: list[int]) -> None:
    splits = divided([chain(f"c{number}") for number in range(n)], 20, 20, seed=0)
    assert [len(members) for members in splits.values()] == sizes


def test_fewer_than_three_are_refused() -> None:
    with pytest.raises(InputError, match="train, valid and test need a protein each, and there are 2 in all"):
        divided([chain("c0"), chain("c1")], 1, 1, 0)


def test_of_copies_the_first_id_is_kept() -> None:
    kept = without_copies([chain("c2", "MKV"), chain("c1", "MKV"), chain("c3", "MKL")])
    assert [each.protein.id for each in kept] == ["c1", "c3"]


def test_the_digest_follows_contacts_and_places_and_no_order() -> None:
    one, two = protein(0), protein(1)
    task = ContactTask("any", {"train": (one, two)})
    assert task.digest == ContactTask("other", {"train": (two, one)}).digest
    moved = replace(one, places=one.places + np.arange(50))
    for changed in (replace(one, contacts=one.contacts[1:]), moved, replace(one, known=~one.known)):
        assert ContactTask("any", {"train": (changed, two)}).digest != task.digest
    assert ContactTask("any", {"test": (one, two)}).digest != task.digest
