"""Planted truth: a head that is the contact map is found in its layer, and nowhere else; shuffled contacts are not."""

import numpy as np
import pytest
import torch

from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.probes.contacts.precision import QUANTITIES, precisions
from plmdepth.probes.contacts.recipe import ContactRecipe
from plmdepth.probes.contacts.scoring import BASELINES, ContactScores, layer_logits, scored
from plmdepth.probes.contacts.training import fit_layers, planned
from plmdepth.proteins.tasks.contacts import ContactProtein
from tests.probes.contacts.planted import CPU, N_HEADS, N_LAYERS, PLANTED, PlantedStack, protein, with_random_contacts

RECIPE = ContactRecipe()
TRAIN = [protein(number) for number in range(4)]
TEST = [protein(number) for number in range(4, 12)]
SEPARATION = BASELINES.index("separation") - len(BASELINES)
RANDOM = BASELINES.index("random") - len(BASELINES)
PERFECT = BASELINES.index("perfect") - len(BASELINES)


def run(train: list[ContactProtein], test: list[ContactProtein], recipe: ContactRecipe = RECIPE) -> ContactScores:
    planted: LayerStack = PlantedStack.of([*TRAIN, *TEST])  # type: ignore[assignment]
    n_pairs = sum(len(each.pairs(6).first) for each in train)
    regressions = fit_layers(planted, train, recipe, planned(recipe, n_pairs, N_LAYERS, N_HEADS), 0, CPU)
    return scored(planted, regressions, "test", test, 0, 50, CPU)


@pytest.fixture(scope="module")
def found() -> ContactScores:
    return run(TRAIN, TEST)


def test_the_planted_layer_reads_all_contacts_and_the_others_none(found: ContactScores) -> None:
    for index, quantity in enumerate(QUANTITIES):
        value = found.layers().value[index]
        chance = float(found.rows(index).value[RANDOM])
        assert float(value[PLANTED]) == 1.0, quantity
        assert value[0].isnan()
        for layer in (1, 2, 4):
            assert float(value[layer]) == pytest.approx(chance, abs=0.25), quantity
    long = found.layers().value[0]
    assert long[[1, 2, 4]].max() < 0.5


def test_a_cumulative_regression_keeps_what_a_lower_layer_knew() -> None:
    value = run(TRAIN, TEST, ContactRecipe(cumulative=True)).layers().value[0]
    assert value[PLANTED:].tolist() == pytest.approx([1.0, 1.0], abs=0.02)
    assert value[1:PLANTED].max() < 0.5


def test_shuffled_contacts_are_read_by_no_layer() -> None:
    shuffled = run([with_random_contacts(each) for each in TRAIN], [with_random_contacts(each) for each in TEST])
    chance = float(shuffled.rows(0).value[RANDOM])
    assert shuffled.layers().value[0, 1:].tolist() == pytest.approx([chance] * N_LAYERS, abs=0.1)


def test_baselines_are_the_share_of_contacts_and_the_best_that_there_can_be(found: ContactScores) -> None:
    rows = found.rows(0)
    shares = [each.pairs(24).contact.mean() for each in TEST]
    assert float(rows.value[RANDOM]) == pytest.approx(np.mean(shares))
    assert float(rows.value[PERFECT]) == 1.0
    assert float(rows.value[SEPARATION]) < 0.6
    assert rows.n.tolist() == [8.0] * (N_LAYERS + len(BASELINES))


def test_means_are_those_of_the_proteins_and_intervals_hold_them(found: ContactScores) -> None:
    planted: LayerStack = PlantedStack.of([*TRAIN, *TEST])  # type: ignore[assignment]
    n_pairs = sum(len(each.pairs(6).first) for each in TRAIN)
    regressions = fit_layers(planted, TRAIN, RECIPE, planned(RECIPE, n_pairs, N_LAYERS, N_HEADS), 0, CPU)
    values = []
    for each in TEST:
        pairs = each.pairs(6)
        logits = layer_logits(planted, regressions, each, pairs, CPU)
        values.append(precisions(logits, pairs, len(each.protein)))
    torch.testing.assert_close(torch.stack(values).mean(0), found.layers().value[:, 1:])
    layers = found.layers()
    assert (layers.low[0, 1:] <= layers.value[0, 1:]).all()
    assert (layers.value[0, 1:] <= layers.high[0, 1:]).all()


def test_a_residue_that_is_nowhere_is_in_no_pair() -> None:
    each = protein(0)
    each.known[5] = False
    pairs = each.pairs(6)
    assert 5 not in {*pairs.first.tolist(), *pairs.second.tolist()}
    assert len(protein(0).pairs(6).first) - len(pairs.first) == 50 - 11  # with residues 11 to 49
