"""Proteins with made-up contacts, and a stack of four layers in whose third a head attends to exactly these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plmdepth.language_models.attention_scores import AttentionScores
from plmdepth.language_models.families.esm2 import SPELLING
from plmdepth.language_models.layer_stack import LayerView, Observer
from plmdepth.language_models.spelling.spelling import Tokens
from plmdepth.proteins.protein import CANONICAL, Protein
from plmdepth.proteins.tasks.contacts import ContactProtein, ContactTask

LENGTH, N_LAYERS, N_HEADS, PLANTED = 50, 4, 3, 3
CPU = torch.device("cpu")


def protein(number: int, length: int = LENGTH) -> ContactProtein:
    """Return a protein with more contacts of every range than it has residues, where it is long enough for that."""
    generator = np.random.default_rng([number, length])
    sequence = "".join(generator.choice(list(CANONICAL), size=length))
    first, second = np.triu_indices(length, 1)
    chosen = []
    for least, most in ((6, 11), (12, 23), (24, length)):
        inside = np.flatnonzero((second - first >= least) & (second - first <= most))
        chosen.append(generator.choice(inside, size=min(length + 5, len(inside)), replace=False))
    rows = np.sort(np.concatenate(chosen))
    contacts = np.stack([first[rows], second[rows]], axis=1)
    return ContactProtein(Protein(f"p{number}", sequence), contacts, np.ones(length, dtype=bool), np.arange(length))


def with_random_contacts(each: ContactProtein, seed: int = 0) -> ContactProtein:
    """Return a protein with as many contacts between residues that were drawn at random: shuffled labels."""
    first, second = np.triu_indices(len(each.protein), 1)
    chosen = np.random.default_rng([seed, len(each.protein.id)]).choice(len(first), len(each.contacts), replace=False)
    return replace(each, contacts=np.stack([first[chosen], second[chosen]], axis=1))


def task(n_train: int = 3, n_valid: int = 2, n_test: int = 4) -> ContactTask:
    ends = np.cumsum([0, n_train, n_valid, n_test])
    names = ("train", "valid", "test")
    splits = {
        name: tuple(protein(number) for number in range(ends[index], ends[index + 1]))
        for index, name in enumerate(names)
    }
    return ContactTask("made_up", splits)


def touching(each: ContactProtein) -> Tensor:
    """Return the contacts as a symmetric map, ``[residue, residue]``."""
    contacts = torch.zeros(len(each.protein), len(each.protein))
    first, second = torch.from_numpy(each.contacts).T
    contacts[first, second] = contacts[second, first] = 1.0
    return contacts


@dataclass
class PlantedStack:
    """A stack whose attention is noise, but for head 1 of layer 3, which is the contact map of the protein it reads.

    Attributes:
        known: the proteins by their sequence.
        runs: the sequences that were run.
    """

    known: Mapping[str, ContactProtein]
    runs: list[str]
    spelling = SPELLING
    n_layers = N_LAYERS

    @classmethod
    def of(cls, proteins: Sequence[ContactProtein]) -> "PlantedStack":
        return cls({each.protein.sequence: each for each in proteins}, [])

    def run(self, tokens: Tokens, observers: Sequence[Observer]) -> None:
        letters = {index: letter for letter, index in SPELLING.letters.items()}
        sequence = "".join(letters[int(index)] for index in tokens.ids[0, 1:-1])
        self.runs.append(sequence)
        for layer in range(1, N_LAYERS + 1):
            scores = AttentionScores(torch.empty(0), self._attention(sequence, layer)[None])
            nothing: Any = torch.empty(0)
            for observer in observers:
                observer.observe(LayerView(layer, nothing, nothing, None, None, "sequential", attention_scores=scores))

    def _attention(self, sequence: str, layer: int) -> Tensor:
        seed = sum(map(ord, sequence)) * 10 + layer
        attention = torch.rand(
            N_HEADS, len(sequence) + 2, len(sequence) + 2, generator=torch.Generator().manual_seed(seed)
        )
        if layer == PLANTED:
            attention[1, 1:-1, 1:-1] = touching(self.known[sequence])
        return attention
