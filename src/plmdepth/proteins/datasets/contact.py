"""``dataset=contact`` and ``dataset=demo_contact``: proteins with the pairs of their residues that touch."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from plmdepth.errors import InputError
from plmdepth.proteins.backbones import Chain
from plmdepth.proteins.datasets.dataset import Dataset
from plmdepth.proteins.datasets.structures import FolderOfChains
from plmdepth.proteins.grammar.sampling import AnnotatedProtein, sample_proteins
from plmdepth.proteins.protein import Protein, Skipped
from plmdepth.proteins.selection import ProteinSet, select
from plmdepth.proteins.tasks.contacts import (
    ContactProtein,
    ContactTask,
    as_read,
    contacts_of,
    divided,
    without_copies,
)

_COPY = "same sequence as another chain"


@dataclass(frozen=True, kw_only=True)
class ContactDataset(Dataset):
    """Proteins whose contacts are known.

    Attributes:
        train_proteins: proteins that a probe is fitted to; Rao et al. 2020 take 20.
        valid_proteins: proteins on which the best layer is chosen.
    """

    train_proteins: int = 20
    valid_proteins: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("train_proteins", "valid_proteins"):
            if getattr(self, option) < 1:
                raise InputError(f"dataset.{option} must be at least 1, got {getattr(self, option)}")

    @abstractmethod
    def load_task(self, model_limit: int, seed: int) -> ContactTask:
        """Return the task for a model that reads at most ``model_limit`` residues."""


@dataclass(frozen=True, kw_only=True)
class ChainContactDataset(ContactDataset):
    """The chains of a folder of structure files, plain or gzipped; of each the first model.

    A model reads the residues that are resolved, side by side. Separations count those that are not, too
    (`Chain.places`). Of chains with the same sequence the one whose id comes first is kept, so none is on both sides of
    the split; homologous chains are not told apart.

    Train and valid have at most a third of the chains each, all others are test; (seed, id) alone decides which.

    Attributes:
        root: the folder.
        min_length: shorter chains are left out: below 25 residues no pair is 24 apart.
    """

    root: str
    min_length: int = 25

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_length < 1:
            raise InputError(f"dataset.min_length must be at least 1, got {self.min_length}")

    @cached_property
    def found(self) -> FolderOfChains:
        """What the folder holds."""
        return FolderOfChains.read(self.root, "dataset.root", skip=self.invalid == "skip")

    def records(self) -> Iterator[tuple[str, str]]:
        """Yield (id, sequence) of every chain that is neither too short nor a copy.

        Raises:
            InputError: a chain is too short and ``invalid`` is ``error``.
        """
        return ((each.protein.id, each.protein.sequence) for each in self._distinct)

    def proteins(self, model_limit: int, seed: int) -> ProteinSet:
        """Return the proteins to measure; files without a chain, short chains and copies are among the skipped."""
        chosen = select(self.records(), self.rules(model_limit, seed), None, self._left_out)
        return replace(chosen, notes=(*chosen.notes, *self.found.notes))

    def load_task(self, model_limit: int, seed: int) -> ContactTask:
        """Return the task for a model that reads at most ``model_limit`` residues; ``limit`` keeps so many in all.

        Raises:
            InputError: fewer than three chains are left.
        """
        if not self._distinct:
            raise InputError(self._too_few(0))
        chosen = self.proteins(model_limit, seed)
        read = without_copies(list(as_read(chosen, self._distinct)))  # cut off, two chains may have become one
        if len(read) < 3:
            raise InputError(self._too_few(len(read)))
        splits = divided(read, self.train_proteins, self.valid_proteins, seed)
        dropped = Counter(each.kind for each in chosen.skipped)
        dropped[_COPY] += len(chosen.proteins) - len(read)
        return ContactTask(self.name, splits, dict(+dropped), chosen.changes, chosen.notes)

    @cached_property
    def _distinct(self) -> list[ContactProtein]:
        return without_copies([_touching(chain) for chain in self._long_enough])

    @cached_property
    def _long_enough(self) -> list[Chain]:
        short = [chain for chain in self.found.chains if len(chain.sequence) < self.min_length]
        if short and self.invalid == "error":
            raise InputError(
                f"{short[0].id} has {len(short[0].sequence)} residues, fewer than dataset.min_length="
                f"{self.min_length}; take it out or use dataset.invalid=skip"
            )
        return [chain for chain in self.found.chains if len(chain.sequence) >= self.min_length]

    @cached_property
    def _left_out(self) -> tuple[Skipped, ...]:
        """What is no record, and why."""
        kept, short = {id(chain) for chain in self._long_enough}, f"shorter than {self.min_length} residues"
        too_short = [chain for chain in self.found.chains if id(chain) not in kept]
        first = {(each.protein.id, each.protein.sequence) for each in self._distinct}
        copies = [chain for chain in self._long_enough if (chain.id, chain.sequence) not in first]
        return (
            *self.found.unread,
            *(Skipped(chain.id, len(chain.sequence), short) for chain in too_short),
            *(Skipped(chain.id, len(chain.sequence), _COPY) for chain in copies),
        )

    def _too_few(self, n_left: int) -> str:
        counts = Counter(each.kind for each in self._left_out)
        why = "".join(f", {count} {reason}" for reason, count in counts.items())
        return (
            f"dataset={self.name}: train, valid and test need a chain each, and {n_left} of "
            f"{len(self.found.chains)} are left{why}; give dataset.root a folder with more"
        )


@dataclass(frozen=True, kw_only=True)
class DemoContactDataset(ContactDataset):
    """The splits of ``dataset=demo`` with the coupled residues as contacts: 24 or 32 residues apart.

    Attributes:
        test_proteins: proteins that the probe is scored on.
        grammar_seed: decides the families; the bundled models know those of seed 0.
    """

    test_proteins: int = 200
    grammar_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.test_proteins < 1:
            raise InputError(f"dataset.test_proteins must be at least 1, got {self.test_proteins}")

    def records(self) -> Iterator[tuple[str, str]]:
        """Yield (id, sequence) of every protein of test."""
        return ((protein.id, protein.sequence) for protein in self._written("test"))

    def load_task(self, model_limit: int, seed: int) -> ContactTask:
        """Return the task for a model that reads at most ``model_limit`` residues; ``limit`` keeps as many of each."""
        rules = self.rules(model_limit, seed)
        written = {split: list(self._written(split)) for split in ("train", "valid", "test")}
        chosen: dict[str, ProteinSet] = {
            split: select(((each.id, each.sequence) for each in members), rules) for split, members in written.items()
        }
        splits = {
            split: tuple(as_read(kept, [_coupled(each) for each in written[split]])) for split, kept in chosen.items()
        }
        return ContactTask(
            self.name,
            splits,
            dict(Counter(f"{split}: {each.kind}" for split, kept in chosen.items() for each in kept.skipped)),
            {f"{split}: {kind}": n for split, kept in chosen.items() for kind, n in kept.changes.items()},
        )

    def _written(self, split: str) -> Iterator[AnnotatedProtein]:
        sizes = {"train": self.train_proteins, "valid": self.valid_proteins, "test": self.test_proteins}
        return sample_proteins(self.grammar_seed, split, sizes[split])


def _touching(chain: Chain) -> ContactProtein:
    known = np.isfinite(chain.beta[:, 0])
    return ContactProtein(Protein(chain.id, chain.sequence), contacts_of(chain.beta), known, chain.places)


def _coupled(protein: AnnotatedProtein) -> ContactProtein:
    length = len(protein)
    contacts = np.array(protein.contacts, dtype=np.int64).reshape(-1, 2)
    return ContactProtein(protein, contacts, np.ones(length, dtype=bool), np.arange(length))
