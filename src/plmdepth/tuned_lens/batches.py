"""What a probe is fitted to and what it is scored on."""

from collections.abc import Sequence

from torch.utils.data import Dataset

from plmdepth.analysis.batches import Batch
from plmdepth.errors import InputError
from plmdepth.language_models.spelling.spelling import Spelling
from plmdepth.objectives.objective import Objective
from plmdepth.proteins.protein import Protein
from plmdepth.randomness import keyed_generator


def hold_out(
    proteins: Sequence[Protein], fraction: float, seed: int
) -> tuple[tuple[Protein, ...], tuple[Protein, ...]]:
    """Return the proteins to fit to and those to score on; equal sequences stay together.

    Args:
        proteins: all proteins, in any order.
        fraction: share of the distinct sequences that is held out; at least one is, and at least one is not.
        seed: decides which.

    Raises:
        InputError: there are fewer than two distinct sequences.
    """
    sequences = {protein.sequence for protein in proteins}
    if len(sequences) < 2:
        raise InputError("a probe needs at least two different proteins, one of them to be scored on; give more")
    order = sorted(sequences, key=lambda sequence: keyed_generator(seed, "held out", sequence).random())
    held = set(order[: min(len(order) - 1, max(1, round(fraction * len(order))))])
    fitted = tuple(protein for protein in proteins if protein.sequence not in held)
    return fitted, tuple(protein for protein in proteins if protein.sequence in held)


class ShuffledPasses(Dataset[Batch]):
    """Passes over proteins, each in a new order and with new targets; the order of the proteins given is of no account.

    Args:
        proteins: what to pass over.
        objective: presents them.
        spelling: spells them.
        batch_size: proteins a batch.
        n_batches: how many batches there are in all.
        seed: decides orders and targets.
    """

    def __init__(
        self,
        proteins: Sequence[Protein],
        objective: Objective,
        spelling: Spelling,
        *,
        batch_size: int,
        n_batches: int,
        seed: int,
    ) -> None:
        self._proteins = sorted(proteins, key=lambda protein: (protein.sequence, protein.id))
        self._objective, self._spelling = objective, spelling
        self._batch_size, self._n_batches, self._seed = batch_size, n_batches, seed

    def __len__(self) -> int:
        return self._n_batches

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < self._n_batches:
            raise IndexError(index)
        number, part = divmod(index, -(-len(self._proteins) // self._batch_size))
        generator = keyed_generator(self._seed, "pass", str(number))
        order, targets_seed = generator.permutation(len(self._proteins)), int(generator.integers(1 << 62))
        chosen = order[part * self._batch_size : (part + 1) * self._batch_size]
        proteins = tuple(self._proteins[position] for position in chosen)
        return Batch(proteins, self._objective.present(proteins, self._spelling, targets_seed))
