import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import pytest
import torch

from plmdepth.errors import InputError
from plmdepth.language_models.families.esm2 import SPELLING
from plmdepth.objectives.diffusion import Diffusion
from plmdepth.proteins.protein import CANONICAL, Protein

MASK = 32
WEIGHTINGS: tuple[Literal["linear", "constant"], ...] = ("linear", "constant")
PROTEINS = [Protein("a", "MKTVACDEFGHIKLMNPQRS"), Protein("b", "ACXDE"), Protein("c", "GGGGGGGGGG"), Protein("d", "WY")]


def many_sequences(count: int) -> list[str]:
    return [CANONICAL[k // 20] + CANONICAL[k % 20] + "ACDEFGHIKL" for k in range(count)]


def test_a_level_is_one_of_the_given_ones_and_all_are_drawn_alike() -> None:
    levels = Counter(Diffusion((0.2, 0.4, 0.6, 0.8)).draw(sequence, seed=0)[0] for sequence in many_sequences(400))
    assert set(levels) == {0.2, 0.4, 0.6, 0.8}
    assert max(abs(count - 100) for count in levels.values()) < 5 * math.sqrt(400 * 0.25 * 0.75)


@pytest.mark.parametrize("level", [0.1, 0.4, 0.9])
def test_residues_are_hidden_with_the_probability_of_the_level(level: float) -> None:
    _, targets = Diffusion((level,)).draw(CANONICAL * 100, seed=0)
    assert abs(len(targets) - 2000 * level) < 5 * math.sqrt(2000 * level * (1 - level))


def test_the_highest_level_hides_every_canonical_residue() -> None:
    assert Diffusion((1.0,)).draw("MXKUA", seed=3) == (1.0, [0, 2, 4])


@pytest.mark.parametrize("sequence", many_sequences(10))
def test_the_lowest_levels_still_hide_one_residue(sequence: str) -> None:
    _, targets = Diffusion((1e-9,)).draw(sequence, seed=0)
    assert len(targets) == 1


def test_the_one_residue_that_is_always_hidden_is_drawn_at_random() -> None:
    first = Counter(Diffusion((1e-9,)).draw("A" * 10, seed)[1][0] for seed in range(500))
    assert set(first) == set(range(10))
    assert max(first.values()) < 50 + 5 * math.sqrt(500 * 0.1 * 0.9)


def test_targets_are_ascending_positions_of_the_twenty_amino_acids() -> None:
    for seed in range(30):
        _, targets = Diffusion().draw("MXKUABZOJC", seed)
        assert targets == sorted(set(targets))
        assert set(targets) <= {0, 2, 4, 9}


def test_a_protein_without_a_possible_target_has_none() -> None:
    example = Diffusion().present([Protein("a", "XXU"), Protein("b", "MK")], SPELLING, seed=0)
    assert example.targets[0] == ()
    assert not example.scored[0].any()
    assert example.targets[1]


def test_draws_depend_on_the_seed() -> None:
    assert len({str(Diffusion().draw(CANONICAL * 2, seed)) for seed in range(10)}) == 10


def test_draws_do_not_depend_on_the_batch_or_the_id() -> None:
    together = Diffusion().present(PROTEINS, SPELLING, seed=2)
    backwards = Diffusion().present(PROTEINS[::-1], SPELLING, seed=2)
    assert together.targets == backwards.targets[::-1]
    assert torch.equal(together.weights, backwards.weights.flip(0))
    for row, protein in enumerate(PROTEINS):
        alone = Diffusion().present([Protein("other", protein.sequence)], SPELLING, seed=2)
        assert alone.targets[0] == together.targets[row]
        assert alone.weights[0] == together.weights[row]


def test_exactly_the_targets_are_replaced_by_the_mask_token() -> None:
    example = Diffusion().present(PROTEINS, SPELLING, seed=1)
    plain = SPELLING.encode([protein.sequence for protein in PROTEINS])
    for row, targets in enumerate(example.targets):
        masked = [column for column, token in enumerate(example.tokens.ids[row].tolist()) if token == MASK]
        assert masked == [1 + position for position in targets]
    assert torch.equal(example.tokens.ids[~example.scored], plain.ids[~example.scored])
    assert torch.equal(example.labels[example.scored], plain.ids[example.scored])
    assert torch.equal(example.context, plain.residues & ~example.scored)


@pytest.mark.parametrize(("level", "weight"), [(0.2, 0.802), (0.5, 0.502), (1.0, 0.002), (1 / 500, 1.0)])
def test_the_weight_of_a_protein_falls_with_its_noise(level: float, weight: float) -> None:
    example = Diffusion((level,)).present(PROTEINS, SPELLING, seed=0)
    assert example.weights.tolist() == pytest.approx([weight] * 4)


def test_each_weight_belongs_to_the_level_of_its_protein() -> None:
    proteins = [Protein(str(k), sequence) for k, sequence in enumerate(many_sequences(20))]
    objective = Diffusion((0.2, 0.8))
    weight_of = {0.2: 0.802, 0.8: 0.202}
    expected = [weight_of[objective.draw(protein.sequence, seed=0)[0]] for protein in proteins]
    assert len(set(expected)) == 2
    assert objective.present(proteins, SPELLING, seed=0).weights.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("weighting", ["linear", "constant"])
def test_the_weight_at_every_step_is_the_one_that_dplm_trains_with(weighting: Literal["linear", "constant"]) -> None:
    steps = 500
    for t in range(1, steps + 1):
        expected = {"linear": steps - (t - 1), "constant": steps}[weighting] / steps  # as its training code has it
        example = Diffusion((t / steps,), weighting).present([PROTEINS[0]], SPELLING, seed=0)
        assert example.weights.tolist() == pytest.approx([expected], abs=1e-6), t


def test_every_protein_belongs_to_the_scope_of_its_level() -> None:
    proteins = [Protein(str(k), sequence) for k, sequence in enumerate(many_sequences(20))]
    objective = Diffusion((0.8, 0.25))
    assert objective.scopes == ("noise_level=0.25", "noise_level=0.8")
    example = objective.present(proteins, SPELLING, seed=0)
    assert example.scopes == tuple(f"noise_level={objective.draw(each.sequence, 0)[0]}" for each in proteins)
    assert [example.sequence(row).scopes for row in range(20)] == [(scope,) for scope in example.scopes]
    assert example.to("cpu").scopes == example.scopes


def test_the_weighting_changes_nothing_but_weights_and_is_kept_in_training() -> None:
    linear, constant = (Diffusion((0.4,), weighting).present(PROTEINS, SPELLING, 0) for weighting in WEIGHTINGS)
    assert linear.targets == constant.targets
    assert torch.equal(linear.tokens.ids, constant.tokens.ids)
    assert not torch.equal(linear.weights, constant.weights)
    assert [Diffusion((0.4,), weighting).for_training().weighting for weighting in WEIGHTINGS] == list(WEIGHTINGS)


def test_what_one_level_hides_each_higher_level_hides_too() -> None:
    for sequence in many_sequences(30):
        hidden = [set(Diffusion((level,)).draw(sequence, seed=1)[1]) for level in (0.05, 0.1, 0.5, 0.9, 1.0)]
        assert all(low <= high for low, high in itertools.pairwise(hidden))
        assert len(hidden[0]) < len(hidden[-1]) == len(sequence)


def test_training_meets_the_whole_noise_schedule() -> None:
    levels = Diffusion((0.5,)).for_training().noise_levels
    assert len(levels) == 500
    assert levels[0] == 0.002
    assert levels[249] == 0.5
    assert levels[-1] == 1.0


@pytest.mark.parametrize("levels", [(), (0,), (0.5, 1.2), (-0.1,), (float("nan"),)])
def test_levels_outside_their_range_are_refused(levels: Sequence[float]) -> None:
    with pytest.raises(InputError, match=r"objective\.noise_levels must be a list of numbers above 0 and at most 1"):
        Diffusion(levels)
