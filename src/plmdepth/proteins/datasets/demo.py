"""``dataset=demo``: proteins written by the bundled grammar, held out from the training of the bundled models."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.dataset import Dataset
from plmdepth.proteins.grammar.sampling import sample_proteins


@dataclass(frozen=True, kw_only=True)
class DemoDataset(Dataset):
    """A split of the grammar.

    Attributes:
        split: the bundled models were trained on ``train`` and chosen on ``valid``; ``test`` is new to them.
        size: number of proteins.
        grammar_seed: decides the families; the bundled models know those of seed 0.
    """

    split: Literal["train", "valid", "test"] = "test"
    size: int = 200
    grammar_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 1:
            raise InputError(f"dataset.size must be at least 1, got {self.size}")

    def records(self) -> Iterator[tuple[str, str]]:
        """Yield (id, sequence) of every protein."""
        return ((protein.id, protein.sequence) for protein in sample_proteins(self.grammar_seed, self.split, self.size))
