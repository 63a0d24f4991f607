"""Precision of the highest pairs, against sorting in plain Python and against all orders of ties."""

from itertools import permutations

import numpy as np
import pytest
import torch

from plmdepth.probes.contacts.precision import QUANTITIES, left_out, precision_at, precisions
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.tasks.contacts import ContactProtein, Pairs


def by_sorting(scores: list[float], contact: list[bool], k: int) -> float:
    """Return the precision of the top k; of pairs with one score, each has its share of the places that are left."""
    order = sorted(range(len(scores)), key=lambda pair: -scores[pair])
    least = scores[order[k - 1]]
    sure = [pair for pair in order if scores[pair] > least]
    tied = [pair for pair in order if scores[pair] == least]
    hits = sum(contact[pair] for pair in sure)
    hits += (k - len(sure)) * sum(contact[pair] for pair in tied) / len(tied)
    return hits / k


@pytest.mark.parametrize("k", [1, 2, 5, 19, 40])
def test_precision_is_that_of_sorting(k: int) -> None:
    generator = np.random.default_rng(0)
    scores = np.stack([generator.normal(size=40), generator.integers(0, 4, 40), np.zeros(40)])
    contact = generator.random(40) < 0.3
    found = precision_at(torch.from_numpy(scores), torch.from_numpy(contact), k)
    expected = [by_sorting(row.tolist(), contact.tolist(), k) for row in scores]
    assert found.tolist() == pytest.approx(expected)
    assert float(found[2]) == pytest.approx(contact.mean())  # equal scores: a random ranking


def test_ties_count_as_the_mean_over_all_their_orders() -> None:
    scores, contact, k = [2.0, 1.0, 1.0, 1.0, 0.0], [True, False, True, False, True], 3
    orders = [sorted(order, key=lambda pair: -scores[pair]) for order in permutations(range(5))]
    mean = np.mean([np.mean([contact[pair] for pair in order[:k]]) for order in orders])
    assert float(precision_at(torch.tensor([scores]), torch.tensor(contact), k)) == pytest.approx(mean)


def test_no_order_of_the_pairs_changes_it() -> None:
    generator = np.random.default_rng(1)
    scores, contact = (
        torch.from_numpy(generator.integers(0, 3, (1, 30))).double(),
        torch.from_numpy(generator.random(30) < 0.4),
    )
    shuffled = torch.from_numpy(generator.permutation(30))
    assert float(precision_at(scores, contact, 7)) == float(precision_at(scores[:, shuffled], contact[shuffled], 7))


def test_ranges_and_cuts_are_ranked_apart() -> None:
    separation = np.array([6, 11, 12, 23, 24, 60] * 10)
    contact = np.arange(60) % 7 == 0
    nothing = np.zeros(60, dtype=np.int64)
    scores = torch.from_numpy(np.random.default_rng(2).normal(size=(1, 60)))
    found = precisions(scores, Pairs(nothing, nothing, separation, contact), length=11)
    spans = {"short": (6, 11), "medium": (12, 23), "long": (24, 1000)}
    cuts = {"precision_at_l": 11, "precision_at_l2": 5, "precision_at_l5": 2}
    for value, quantity in zip(found[:, 0].tolist(), QUANTITIES, strict=True):
        least, most = spans[quantity.component]
        inside = [pair for pair in range(60) if least <= separation[pair] <= most]
        row = [float(scores[0, pair]) for pair in inside]
        assert value == pytest.approx(by_sorting(row, [bool(contact[pair]) for pair in inside], cuts[quantity.name]))
    assert (QUANTITIES[0].name, QUANTITIES[0].component) == ("precision_at_l", "long")


def test_a_protein_without_contacts_or_with_too_few_pairs_is_left_out_and_never_zero() -> None:
    length = 30  # 21 pairs are 24 or more apart, fewer than L
    known, places = np.ones(length, dtype=bool), np.arange(length)
    each = ContactProtein(Protein("a", "A" * length), np.array([[0, 25], [0, 7]]), known, places)
    pairs = each.pairs(6)
    found = precisions(torch.zeros(1, len(pairs.first)), pairs, length)[:, 0]
    names = [(quantity.name, quantity.component) for quantity in QUANTITIES]
    missing = {name for name, value in zip(names, found.tolist(), strict=True) if np.isnan(value)}
    medium = {(cut, "medium") for cut in ("precision_at_l", "precision_at_l2", "precision_at_l5")}
    assert missing == {("precision_at_l", "long"), *medium}
    counted = {name: dict(counts) for name, counts in zip(names, left_out([each, each]), strict=True) if counts}
    assert counted.keys() == missing
    assert counted["precision_at_l", "long"] == {"fewer pairs than are ranked": 2}
    assert counted["precision_at_l", "medium"] == {"no contact": 2}
