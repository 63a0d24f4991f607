"""Scores do not depend on how proteins are divided into batches."""

from pathlib import Path

import pytest
import torch

from plmdepth.language_models.weights import load_stack
from plmdepth.probes.layerwise.evaluation import evaluate, evaluation_batches
from plmdepth.probes.layerwise.features import Pooling
from plmdepth.probes.layerwise.recipe import LinearRecipe
from plmdepth.probes.layerwise.split_features import SplitFeatures
from plmdepth.proteins.tasks.task import Kind
from tests.probes.cells import MODEL, cell_of, task_of

N = 80


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize(
    ("kind", "pooling"), [("multiclass", "mean"), ("multilabel", "attention"), ("residue", "mean")]
)
def test_batches_of_1_and_of_64_are_scored_alike(kind: Kind, pooling: Pooling, cache: bool, tmp_path: Path) -> None:
    task = task_of(kind, train=2, valid=2, test=N)
    cell = cell_of(task, tmp_path, LinearRecipe(pooling=pooling, cache=cache))
    stack = load_stack(MODEL, 0)
    torch.manual_seed(0)
    heads = cell.untrained_heads(stack.width)
    read = SplitFeatures(cell, stack, torch.device("cpu")).of("test")
    one, many, budget = (
        evaluate(heads, read, task.splits["test"], kind, 0, 20, batches)
        for batches in (
            [[row] for row in range(N)],
            [range(64), range(64, N)],
            evaluation_batches(task.splits["test"], range(N), True, 200),
        )
    )
    assert set(one) == set(task.metrics)
    for name, found in one.items():
        for other in (many[name], budget[name]):
            assert torch.equal(found.n, other.n)
            torch.testing.assert_close(found.value, other.value, rtol=0, atol=1e-6 if cache else 2e-3)
            torch.testing.assert_close(found.low, other.low, rtol=0, atol=1e-6 if cache else 5e-3)


def test_proteins_whose_residues_are_read_come_in_batches_of_so_many() -> None:
    members = task_of("residue", train=2, valid=2, test=N).splits["test"]
    batches = evaluation_batches(members, range(N), True, 200)
    assert sorted(row for batch in batches for row in batch) == list(range(N))
    assert max(sum(len(members[row].protein) for row in batch) for batch in batches) <= 200
    assert [len(batch) for batch in evaluation_batches(members, range(N), False, 200)] == [64, 16]


@pytest.mark.parametrize("residues", [False, True])
def test_some_of_the_proteins_are_scored_by_their_places(residues: bool) -> None:
    members, places = task_of("residue", train=2, valid=2, test=N).splits["test"], [3, 17, 5, *range(30, 75)]
    batches = evaluation_batches(members, places, residues, 100)
    assert sorted(place for batch in batches for place in batch) == sorted(places)
    if residues:
        assert max(sum(len(members[place].protein) for place in batch) for batch in batches) <= 100
