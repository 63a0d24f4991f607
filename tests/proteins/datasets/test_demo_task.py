from typing import Any, get_args

import numpy as np
import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.demo import DemoDataset
from plmdepth.proteins.datasets.demo_task import STATES, DemoLabel, DemoTaskDataset, read_demo
from plmdepth.proteins.grammar.alphabet import PARTNERS
from plmdepth.proteins.grammar.families import draw_families, motif_letters
from plmdepth.proteins.grammar.sampling import SIGNALS, AnnotatedProtein, sample_proteins
from plmdepth.proteins.tasks.raw import RawTask

N = 120
FAMILIES = {family.name: family for family in draw_families(0)}


def read(label: DemoLabel) -> RawTask:
    return read_demo(label, 0, {"train": 5, "valid": 5, "test": N})


@pytest.fixture(scope="module")
def proteins() -> list[AnnotatedProtein]:
    return list(sample_proteins(0, "test", N))


@pytest.mark.parametrize("label", get_args(DemoLabel))
def test_proteins_are_those_of_the_grammar(label: DemoLabel, proteins: list[AnnotatedProtein]) -> None:
    raw = read(label)
    expected = [(protein.id, protein.sequence) for protein in proteins]
    assert [(entry.id, entry.text) for entry in raw.entries["test"]] == expected
    assert [entry.id for entry in raw.entries["train"]] == [f"train_{n:06d}" for n in range(5)]


@pytest.mark.parametrize("label", get_args(DemoLabel))
def test_every_class_occurs_and_labels_have_the_shape_of_their_kind(label: DemoLabel) -> None:
    raw = read(label)
    shapes = {"multiclass": (), "multilabel": (len(raw.classes),)}
    assert all(e.label.shape == shapes.get(raw.kind, (len(e.text),)) for e in raw.entries["test"])
    labels = [entry.label.reshape(-1) for entry in raw.entries["test"]]
    found = np.flatnonzero(np.any(labels, axis=0)) if raw.kind == "multilabel" else np.unique(np.concatenate(labels))
    assert found.tolist() == list(range(len(raw.classes)))


def test_families_and_functions_are_the_true_ones(proteins: list[AnnotatedProtein]) -> None:
    family, function = read("family"), read("function")
    for protein, one, several in zip(proteins, family.entries["test"], function.entries["test"], strict=True):
        assert family.classes[int(one.label)] == protein.family
        assert tuple(np.array(function.classes)[several.label]) == protein.functions


def test_compartments_can_be_read_from_the_first_residues(proteins: list[AnnotatedProtein]) -> None:
    raw = read("compartment")
    for protein, entry in zip(proteins, raw.entries["test"], strict=True):
        columns = SIGNALS[raw.classes[int(entry.label)]]
        assert raw.classes[int(entry.label)] == protein.compartment
        assert all(letter in column for letter, column in zip(protein.sequence[1:], columns, strict=False))


def test_structure_is_that_of_every_residue(proteins: list[AnnotatedProtein]) -> None:
    for protein, entry in zip(proteins, read("structure").entries["test"], strict=True):
        assert "".join("HEC"[number] for number in entry.label) == protein.secondary_structure


def test_coupled_residues_are_the_contacts_and_mostly_partners(proteins: list[AnnotatedProtein]) -> None:
    fits = []
    for protein, entry in zip(proteins, read("coupling").entries["test"], strict=True):
        assert np.flatnonzero(entry.label).tolist() == sorted(i for pair in protein.contacts for i in pair)
        fits += [PARTNERS[entry.text[i]] == entry.text[j] for i, j in protein.contacts if entry.text[i] in PARTNERS]
    assert 0.93 < np.mean(fits) < 0.98


def test_states_divide_a_protein_into_the_parts_that_wrote_it(proteins: list[AnnotatedProtein]) -> None:
    coupling = read("coupling").entries["test"]
    for protein, entry, coupled in zip(proteins, read("state").entries["test"], coupling, strict=True):
        names = [STATES[number] for number in entry.label]
        family = FAMILIES[protein.family]
        assert names.index("start") == 0
        assert names.count("start") == 1
        n_signal = len(SIGNALS[protein.compartment])
        assert names[1 : 1 + n_signal] == ["signal"] * n_signal
        assert names.count("signal") == n_signal
        assert [name == "coupled" for name in names] == (coupled.label == 1).tolist()
        assert names.count("motif") == 6 * len(family.motifs)
        assert len(names) - n_signal - 1 - names.count("linker") == len(family.structure)


def test_motif_states_spell_the_motifs(proteins: list[AnnotatedProtein]) -> None:
    same = []
    for protein, entry in zip(proteins, read("state").entries["test"], strict=True):
        written = "".join(letter for letter, number in zip(entry.text, entry.label, strict=True) if number == 3)
        motifs = "".join(
            motif_letters(0, number) for number, _ in sorted(FAMILIES[protein.family].motifs, key=lambda m: m[1])
        )
        same += [one == other for one, other in zip(written, motifs, strict=True)]
    assert np.mean(same) > 0.93


def test_linker_states_are_written_in_linker_letters(proteins: list[AnnotatedProtein]) -> None:
    linker = STATES.index("linker")
    texts = [(e.text, e.label) for e in read("state").entries["test"]]
    letters = "".join(
        letter for text, label in texts for letter, number in zip(text, label, strict=True) if number == linker
    )
    assert set(letters) == set("GST")


def test_another_grammar_has_other_labels() -> None:
    one, other = (read_demo("structure", seed, {"test": 3}).entries["test"] for seed in (0, 1))
    assert [e.label.tolist() for e in one] != [e.label.tolist() for e in other]


def dataset(label: Any = "family", **options: Any) -> DemoTaskDataset:
    return DemoTaskDataset(name="mine", label=label, **{"train_size": 30, "valid_size": 20, "test_size": 25, **options})


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_the_proteins_are_those_of_the_demo(split: Any) -> None:
    sizes = {"train": 30, "valid": 20, "test": 25}
    demo = DemoDataset(name="demo", split=split, size=sizes[split]).proteins(1022, seed=0)
    assert dataset(split=split).proteins(1022, seed=0) == demo


@pytest.mark.parametrize("label", get_args(DemoLabel))
def test_every_label_makes_a_task(label: str) -> None:
    task = dataset(label).load_task(126, seed=0)
    assert {split: len(members) for split, members in task.splits.items()} == {"train": 30, "valid": 20, "test": 25}
    assert task.name == "mine"
    assert dict(task.dropped) == dict(task.absent) == {}


def test_labels_of_residues_follow_truncation() -> None:
    whole, cut = (dataset("structure", length_policy="truncate").load_task(limit, seed=0) for limit in (126, 20))
    for one, other in zip(whole.splits["test"], cut.splits["test"], strict=True):
        assert other.label.tolist() == one.label[:20].tolist()


@pytest.mark.parametrize("option", ["train_size", "valid_size", "test_size", "limit"])
def test_a_number_below_one_is_refused_by_name(option: str) -> None:
    with pytest.raises(InputError, match=rf"dataset\.{option} must be at least 1, got 0"):
        dataset(**{option: 0})
