"""``dataset=demo_family`` and the like: proteins of the bundled grammar with a label that it knows.

It wrote the proteins, so there is no annotator and no noise. How much of a label can be read from the sequence is known
too: families and signals are all but certain, coupled residues are known from where they lie in the family's template.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.labelled import LabelledDataset
from plmdepth.proteins.grammar.families import N_FAMILIES, N_MOTIFS, Family, draw_families, motif_letters
from plmdepth.proteins.grammar.sampling import COMPARTMENTS, SIGNALS, AnnotatedProtein, sample_proteins
from plmdepth.proteins.tasks.raw import Entry, RawTask
from plmdepth.proteins.tasks.task import Kind

DemoLabel = Literal["family", "function", "compartment", "structure", "coupling", "state"]

STATES = ("start", "signal", "linker", "motif", "coupled", "ordinary")
"""The part of the grammar that wrote a residue."""

_MOTIF_LENGTH = len(motif_letters(0, 0))


@dataclass(frozen=True, kw_only=True)
class DemoTaskDataset(LabelledDataset):
    """The splits of ``dataset=demo`` with one of their labels.

    Attributes:
        label: what is predicted.
        train_size: number of proteins of train.
        valid_size: number of proteins of valid.
        test_size: number of proteins of test.
        grammar_seed: decides the families; the bundled models know those of seed 0.
    """

    label: DemoLabel
    train_size: int = 1000
    valid_size: int = 200
    test_size: int = 400
    grammar_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("train_size", "valid_size", "test_size"):
            if getattr(self, option) < 1:
                raise InputError(f"dataset.{option} must be at least 1, got {getattr(self, option)}")

    def read(self) -> RawTask:
        """Write all splits."""
        sizes = {"train": self.train_size, "valid": self.valid_size, "test": self.test_size}
        return read_demo(self.label, self.grammar_seed, sizes)


class _Written(NamedTuple):
    protein: AnnotatedProtein
    family: Family


class _Rule(NamedTuple):
    kind: Kind
    classes: tuple[str, ...]
    label: Callable[[_Written], np.ndarray]


def read_demo(label: DemoLabel, grammar_seed: int, sizes: Mapping[str, int]) -> RawTask:
    """Write the proteins of every split with one of their labels.

    Args:
        label: which.
        grammar_seed: decides the families.
        sizes: number of proteins of every split; the splits are those of ``dataset=demo``.
    """
    rule, families = _RULES[label], {family.name: family for family in draw_families(grammar_seed)}
    entries = {
        split: tuple(
            Entry(protein.id, protein.sequence, rule.label(_Written(protein, families[protein.family])))
            for protein in sample_proteins(grammar_seed, split, size)
        )
        for split, size in sizes.items()
    }
    return RawTask(rule.kind, rule.classes, entries)


def _family(written: _Written) -> np.ndarray:
    return np.array(_FAMILIES.index(written.protein.family), dtype=np.int64)


def _function(written: _Written) -> np.ndarray:
    return np.array([term in written.protein.functions for term in _FUNCTIONS])


def _compartment(written: _Written) -> np.ndarray:
    return np.array(COMPARTMENTS.index(written.protein.compartment), dtype=np.int64)


def _structure(written: _Written) -> np.ndarray:
    return np.array(["HEC".index(letter) for letter in written.protein.secondary_structure], dtype=np.int64)


def _coupling(written: _Written) -> np.ndarray:
    label = np.zeros(len(written.protein), dtype=np.int64)
    label[list(chain.from_iterable(written.protein.contacts))] = 1
    return label


def _state(written: _Written) -> np.ndarray:
    """Name the part that wrote each residue: start, signal, then the template with the linker inserted in it."""
    protein, family = written
    n_head = 1 + len(SIGNALS[protein.compartment])
    n_linker = len(protein) - n_head - len(family.structure)
    template = ["ordinary"] * len(family.structure)
    for _, first in family.motifs:
        template[first : first + _MOTIF_LENGTH] = ["motif"] * _MOTIF_LENGTH
    for column in chain.from_iterable(family.couplings):
        template[column] = "coupled"
    template[family.linker_column : family.linker_column] = ["linker"] * n_linker
    names = ["start", *["signal"] * (n_head - 1), *template]
    return np.array([STATES.index(name) for name in names], dtype=np.int64)


_FAMILIES = tuple(f"family_{number:02d}" for number in range(N_FAMILIES))
_FUNCTIONS = tuple(f"motif_{number}" for number in range(N_MOTIFS))
_RULES: Mapping[DemoLabel, _Rule] = MappingProxyType(
    {
        "family": _Rule("multiclass", _FAMILIES, _family),
        "function": _Rule("multilabel", _FUNCTIONS, _function),
        "compartment": _Rule("multiclass", COMPARTMENTS, _compartment),
        "structure": _Rule("residue", ("H", "E", "C"), _structure),
        "coupling": _Rule("residue", ("free", "coupled"), _coupling),
        "state": _Rule("residue", STATES, _state),
    }
)
