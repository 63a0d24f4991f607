import numpy as np
import pytest

from plmdepth.proteins.protein import CANONICAL
from plmdepth.proteins.tasks.held_out import apportioned
from plmdepth.proteins.tasks.raw import Entry

ENTRIES = [Entry(f"p{n}", CANONICAL[n % 20] * (n // 20 + 1), np.array(0)) for n in range(1000)]
SHARES = {"train": 0.6, "valid": 0.1, "test": 0.3}


def test_every_entry_is_in_one_split() -> None:
    parts = apportioned(ENTRIES, SHARES, "mine")
    assert sorted(entry.id for part in parts.values() for entry in part) == sorted(entry.id for entry in ENTRIES)


@pytest.mark.parametrize(("split", "share"), SHARES.items())
def test_splits_have_their_shares(split: str, share: float) -> None:
    n = len(apportioned(ENTRIES, SHARES, "mine")[split])
    assert abs(n - 1000 * share) < 4 * (1000 * share * (1 - share)) ** 0.5


def test_an_entry_stays_where_it_is_whatever_else_there_is() -> None:
    whole, part = (apportioned(entries, SHARES, "mine") for entries in (ENTRIES, ENTRIES[::-3]))
    for split in SHARES:
        assert {entry.id for entry in part[split]} <= {entry.id for entry in whole[split]}


def test_copies_of_a_sequence_stay_together() -> None:
    copies = [Entry("a", "MKTV", np.array(0)), Entry("b", "mktv*", np.array(1))]
    for purpose in map(str, range(30)):
        assert max(len(part) for part in apportioned(copies, SHARES, purpose).values()) == 2


def test_two_sets_are_split_independently() -> None:
    one, other = ({entry.id for entry in apportioned(ENTRIES, SHARES, p)["test"]} for p in ("one", "other"))
    assert abs(len(one & other) - 90) < 45
