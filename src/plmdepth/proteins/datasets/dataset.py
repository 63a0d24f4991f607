"""What every dataset offers: records, and the rules by which they become proteins."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from plmdepth.errors import InputError
from plmdepth.proteins.selection import LengthPolicy, ProteinSet, Rules, Structures, select


@dataclass(frozen=True, kw_only=True)
class Dataset(ABC):
    """Proteins from somewhere.

    Attributes:
        name: the config option.
        max_length: longest protein in residues; None takes the model's limit.
        length_policy: what happens to a longer one.
        invalid: what happens to a record that is no protein.
        limit: keep this many, the first in a seeded order; None keeps all.
        tokens_per_batch: most tokens in a padded batch; changes speed and memory, never a number.
    """

    holds_text: ClassVar[bool] = False
    """Whether its records are natural text."""
    name: str
    max_length: int | None = None
    length_policy: LengthPolicy = "error"
    invalid: Literal["skip", "error"] = "skip"
    limit: int | None = None
    tokens_per_batch: int = 4096

    def __post_init__(self) -> None:
        for option in ("max_length", "limit", "tokens_per_batch"):
            value = getattr(self, option)
            if value is not None and value < 1:
                raise InputError(f"dataset.{option} must be at least 1, got {value}")

    @abstractmethod
    def records(self) -> Iterator[tuple[str, str]]:
        """Yield (id, text) of every record."""

    def structures(self) -> Structures | None:
        """Return the structure tokens of every protein; None where the dataset has none."""
        return None

    def proteins(self, model_limit: int, seed: int) -> ProteinSet:
        """Return the proteins to measure with a model that reads at most ``model_limit`` residues."""
        return select(self.records(), self.rules(model_limit, seed), self.structures())

    def rules(self, model_limit: int, seed: int) -> Rules:
        """Return how records become proteins for a model that reads at most ``model_limit`` residues.

        Raises:
            InputError: more is asked for than the model reads.
        """
        if self.max_length is not None and self.max_length > model_limit:
            raise InputError(f"dataset.max_length={self.max_length} is more than the model reads ({model_limit})")
        return Rules(self.max_length or model_limit, self.length_policy, self.invalid, self.limit, seed)
