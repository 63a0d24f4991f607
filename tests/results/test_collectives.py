"""A run of one process talks to itself; shares cover everything once."""

import pyarrow as pa
import pytest
import torch

from plmdepth.results import collectives
from plmdepth.results.sequence_table import interleaved


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("n_batches", [0, 1, 2, 4, 7])
def test_the_shares_of_all_processes_hold_every_batch_once(
    n: int, n_batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collectives, "n_processes", lambda: n)
    shares = []
    for number in range(n):
        monkeypatch.setattr(collectives, "rank", lambda number=number: number)
        shares.append(list(collectives.OwnShare(n_batches)))
        assert len(collectives.OwnShare(n_batches)) == len(shares[-1])
    assert sorted(batch for share in shares for batch in share) == list(range(n_batches))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_is_the_first_and_talks_to_itself() -> None:
    assert (collectives.rank(), collectives.n_processes(), collectives.group()) == (0, 1, None)
    value = torch.tensor([1.0, 2.0])
    assert collectives.total(value).tolist() == collectives.agreed(value).tolist() == [1.0, 2.0]
    collectives.wait_for_all()


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("n_skipped", [0, 2])
def test_tables_of_shares_are_put_together_in_the_order_of_the_batches(n: int, n_skipped: int) -> None:
    sizes = [3, 1, 2, 4, 1]
    batches = [[f"b{batch}.{row}" for row in range(size)] for batch, size in enumerate(sizes)]
    skipped = [f"s{row}" for row in range(n_skipped)]
    parts = []
    for number in range(n):
        own = [row for batch in batches[number::n] for row in batch]
        parts.append(pa.table({"id": [*skipped, *own]}))
    naive = [*skipped, *(row for batch in batches for row in batch)]
    assert interleaved(parts, n_skipped, sizes)["id"].to_pylist() == naive
