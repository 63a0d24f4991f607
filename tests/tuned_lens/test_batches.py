import pytest

from plmdepth.errors import InputError
from plmdepth.language_models.families.esm2 import SPELLING
from plmdepth.objectives.masked import Masked
from plmdepth.proteins.grammar.sampling import sample_proteins
from plmdepth.proteins.protein import Protein
from plmdepth.tuned_lens.batches import ShuffledPasses, hold_out

PROTEINS = tuple(Protein(each.id, each.sequence) for each in sample_proteins(0, "train", 20))


def passes(proteins: tuple[Protein, ...] = PROTEINS, seed: int = 0) -> ShuffledPasses:
    return ShuffledPasses(proteins, Masked(), SPELLING, batch_size=8, n_batches=6, seed=seed)


def test_every_protein_is_on_one_side() -> None:
    fitted, held_out = hold_out(PROTEINS, 0.25, seed=0)
    assert len(held_out) == 5
    assert set(fitted) | set(held_out) == set(PROTEINS)
    assert not set(fitted) & set(held_out)


def test_the_split_depends_on_the_seed_and_not_on_the_order() -> None:
    _, held_out = hold_out(PROTEINS, 0.25, seed=0)
    assert set(hold_out(PROTEINS[::-1], 0.25, seed=0)[1]) == set(held_out)
    assert set(hold_out(PROTEINS, 0.25, seed=1)[1]) != set(held_out)


def test_equal_sequences_stay_together() -> None:
    twins = tuple(Protein(f"{protein.id}'", protein.sequence) for protein in PROTEINS)
    fitted, held_out = hold_out((*PROTEINS, *twins), 0.25, seed=0)
    assert not {protein.sequence for protein in fitted} & {protein.sequence for protein in held_out}
    assert len(held_out) == 10


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_neither_side_is_empty(fraction: float) -> None:
    assert all(hold_out(PROTEINS[:2], fraction, seed=0))


def test_one_protein_is_too_few() -> None:
    with pytest.raises(InputError, match="at least two different proteins"):
        hold_out((PROTEINS[0], Protein("again", PROTEINS[0].sequence)), 0.5, seed=0)


def test_every_pass_shows_every_protein_once_in_another_order_with_other_targets() -> None:
    batches = [passes()[index] for index in range(6)]
    first, second = (sum((batch.proteins for batch in part), ()) for part in (batches[:3], batches[3:]))
    assert [len(batch.proteins) for batch in batches] == [8, 8, 4, 8, 8, 4]
    assert set(first) == set(second) == set(PROTEINS)
    assert first != second
    targets = [
        {protein.id: hidden for batch in part for protein, hidden in zip(batch.proteins, batch.example.targets)}  # noqa: B905
        for part in (batches[:3], batches[3:])
    ]
    assert all(targets[0][protein.id] != targets[1][protein.id] for protein in PROTEINS)


def test_passes_depend_on_the_seed_and_not_on_the_order_of_the_proteins() -> None:
    assert passes()[4].proteins == passes(PROTEINS[::-1])[4].proteins
    assert passes()[4].example.targets == passes(PROTEINS[::-1])[4].example.targets
    assert passes()[4].proteins != passes(seed=1)[4].proteins


def test_passes_end() -> None:
    assert len(list(passes())) == len(passes()) == 6
