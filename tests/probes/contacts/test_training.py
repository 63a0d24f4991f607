"""Training in bounded memory: budgets and passes change no number."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.probes.contacts.recipe import ContactRecipe
from plmdepth.probes.contacts.regression import LayerRegressions
from plmdepth.probes.contacts.training import fit_layers, planned, training_pairs
from tests.probes.contacts.planted import CPU, N_HEADS, N_LAYERS, PLANTED, PlantedStack, protein

PROTEINS = [protein(number) for number in range(3)]
N_PAIRS = sum(len(each.pairs(6).first) for each in PROTEINS)


def fit(recipe: ContactRecipe, stack: PlantedStack) -> LayerRegressions:
    plan = planned(recipe, N_PAIRS, N_LAYERS, N_HEADS)
    planted: LayerStack = stack  # type: ignore[assignment]
    return fit_layers(planted, PROTEINS, recipe, plan, 0, CPU)


def test_several_passes_give_the_same_regressions() -> None:
    layer = N_PAIRS * N_HEADS * 4 / 1e9
    whole, parts = PlantedStack.of(PROTEINS), PlantedStack.of(PROTEINS)
    once = fit(ContactRecipe(), whole)
    often = fit(ContactRecipe(gigabytes=3.5 * layer), parts)
    assert (len(whole.runs), len(parts.runs)) == (3, 6)
    assert torch.equal(once.weight, often.weight)
    assert torch.equal(once.bias, often.bias)


def test_the_plan_says_what_is_held_and_how_often_proteins_are_run() -> None:
    plan = planned(ContactRecipe(gigabytes=0.5, max_pairs=1_000_000), 2_000_000, 12, 20)
    assert (plan.n_pairs, plan.gigabytes) == (1_000_000, pytest.approx(0.96))
    assert [list(layers) for layers in plan.passes] == [list(range(1, 7)), list(range(7, 13))]
    assert str(plan) == "1000000 of 2000000 training pairs, 0.96 GB of attention in all layers: 2 passes"
    with pytest.raises(InputError, match=r"take 0\.08 GB for one layer, and probe\.gigabytes is 0\.05; raise it or"):
        planned(ContactRecipe(gigabytes=0.05), 1_000_000, 12, 20)
    with pytest.raises(InputError, match=r"take 0\.96 GB for all layers, and probe\.gigabytes is 0\.5"):
        planned(ContactRecipe(gigabytes=0.5, cumulative=True), 1_000_000, 12, 20)


def test_each_layer_reads_its_own_heads_or_all_up_to_it() -> None:
    own = fit(ContactRecipe(), PlantedStack.of(PROTEINS)).weight
    assert torch.equal(own, own * torch.eye(N_LAYERS, dtype=torch.float64)[:, :, None])
    assert own[PLANTED - 1, PLANTED - 1, 1] > 1
    both = fit(ContactRecipe(cumulative=True), PlantedStack.of(PROTEINS)).weight
    below = torch.ones(N_LAYERS, N_LAYERS, dtype=torch.float64).tril()
    assert torch.equal(both, both * below[:, :, None])
    assert both[N_LAYERS - 1, PLANTED - 1, 1] > 1
    assert torch.equal(both[0], own[0])


def test_pairs_are_thinned_out_evenly_and_by_the_seed() -> None:
    proteins = [protein(0, 30), protein(1, 60)]
    everything = training_pairs(proteins, None, 0)
    some, again, other = (training_pairs(proteins, 300, seed) for seed in (0, 0, 1))
    assert sum(len(pairs.first) for pairs in some) == 300
    shares = [len(few.first) / len(many.first) for few, many in zip(some, everything, strict=True)]
    assert shares[0] == pytest.approx(shares[1], abs=0.01)
    for few, same, many in zip(some, again, everything, strict=True):
        assert np.array_equal(few.first, same.first)
        pairs = set(zip(few.first.tolist(), few.second.tolist(), strict=True))
        assert len(pairs) == len(few.first)
        assert pairs <= set(zip(many.first.tolist(), many.second.tolist(), strict=True))
    assert not np.array_equal(some[1].first, other[1].first)


def test_fewer_pairs_are_fitted_to_where_there_is_a_limit() -> None:
    recipe = ContactRecipe(max_pairs=500)
    few, many = fit(recipe, PlantedStack.of(PROTEINS)), fit(replace(recipe, max_pairs=None), PlantedStack.of(PROTEINS))
    assert not torch.equal(few.weight, many.weight)
    assert few.weight[PLANTED - 1, PLANTED - 1, 1] > 0


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("inverse_regularisation", 0.0, r"probe\.inverse_regularisation must be above 0, got 0\.0"),
        ("gigabytes", -1.0, r"probe\.gigabytes must be above 0"),
        ("max_pairs", 0, r"probe\.max_pairs=0: give 1 pair or more; null for all"),
        ("n_replicates", 1, r"probe\.n_replicates=1: an interval needs 2 or more"),
    ],
)
def test_wrong_options_are_refused_by_name(option: str, value: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ContactRecipe(**{option: value})
