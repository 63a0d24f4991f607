"""Which split every row of a table is in: as the table says, or made so that what is alike stays in one split."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd

from plmdepth.errors import InputError
from plmdepth.proteins.tables.identity import clusters, nearest_aligned, nearest_identity
from plmdepth.proteins.tables.mutants import changed_positions, common_parent
from plmdepth.proteins.tables.reading import is_missing
from plmdepth.randomness import keyed_generator

SplitBy = Literal["auto", "column", "cluster", "identity", "position", "random"]
LEAKAGE_AT = (0.3, 0.5, 0.9)
_NAMES = MappingProxyType(
    {
        **dict.fromkeys(("train", "training"), "train"),
        **dict.fromkeys(("valid", "val", "validation", "dev"), "valid"),
        **dict.fromkeys(("test", "testing"), "test"),
    }
)
_YES, _NO = ("true", "1", "1.0", "yes", "y", "t"), ("false", "0", "0.0", "no", "n", "f")
_MOST_IN_ONE = 0.7


@dataclass(frozen=True)
class Splits:
    """Which split every row is in.

    Attributes:
        of: the split of every row by its number; rows that are left out are not there.
        how: what decided it, for the record.
        dropped: what was left out, and how often.
    """

    of: Mapping[int, str]
    how: str
    dropped: Mapping[str, int] = field(default_factory=dict)


def given_splits(frame: pd.DataFrame, column: str, validation: str | None) -> Splits:
    """Return the splits that a column names; a column of yes and no beside it takes validation out of train.

    Raises:
        InputError: a value is none of the usual words.
    """
    found: dict[int, str] = {}
    dropped: Counter[str] = Counter()
    for row, value in frame[column].items():
        if is_missing(value):
            dropped["rows without a split"] += 1
            continue
        split = _NAMES.get(str(value).strip().lower())
        if split is None:
            raise InputError(f"row {row}: the split {value!r} in {column} is none of train, valid and test")
        if validation is not None and split == "train" and _is_yes(frame.at[row, validation], row, validation):
            split = "valid"
        found[int(str(row))] = split
    return Splits(found, f"column {column}", dict(dropped))


def _is_yes(value: Any, row: object, column: str) -> bool:
    text = str(value).strip().lower()
    if is_missing(value) or text in _NO:
        return False
    if text not in _YES:
        raise InputError(f"row {row}: {value!r} in {column} is neither true nor false")
    return True


def made_splits(
    sequences: Mapping[int, str],
    by: SplitBy,
    groups: Mapping[int, Any] | None,
    shares: Mapping[str, float],
    identity: float,
    seed: int,
) -> Splits:
    """Divide rows into splits; rows that are alike, and equal sequences in any case, are in one split.

    Args:
        sequences: residues of every row, by its number.
        by: what makes rows alike.
        groups: the cluster of every row, where the table has them.
        shares: the part of every split; they add up to 1.
        identity: from which identity sequences are alike with ``by="identity"``.
        seed: decides which cluster goes where.

    Raises:
        InputError: the rows cannot be divided so.
    """
    distinct = list(dict.fromkeys(sequences.values()))
    parent = common_parent(distinct)
    if by == "auto":
        by = "cluster" if groups is not None else "position" if parent is not None else "identity"
    if by == "cluster" and groups is None:
        raise InputError("dataset.split_by=cluster needs a column cluster; name it with dataset.cluster=COLUMN")
    if by == "position":
        if parent is None:
            raise InputError("dataset.split_by=position is for mutants of one parent, of one length")
        return _by_position(sequences, parent, shares, seed)
    if by == "cluster":
        assert groups is not None
        members, how = _joined(sequences, groups), "clusters of the table"
    elif by == "identity":
        if parent is not None:
            raise InputError(
                "all sequences are mutants of one parent, so that identity tells nothing apart; "
                "use dataset.split_by=position (held-out positions) or random"
            )
        number = dict(zip(distinct, clusters(distinct, identity).tolist(), strict=True))
        members, how = {row: number[sequence] for row, sequence in sequences.items()}, f"identity below {identity:g}"
    else:
        members, how = dict(sequences), "random"
    return Splits(_assigned(members, shares, seed, by), how)


def _joined(sequences: Mapping[int, str], groups: Mapping[int, Any]) -> dict[int, Any]:
    """Return clusters in which equal sequences are in one: where two clusters share a sequence they become one."""
    first: dict[Any, Any] = {}

    def root(of: Any) -> Any:
        while first.setdefault(of, of) != of:
            of = first[of]
        return of

    for row, sequence in sequences.items():
        first[root(("sequence", sequence))] = root(("group", groups[row]))
    return {row: root(("group", groups[row])) for row in sequences}


def _assigned(members: Mapping[int, Any], shares: Mapping[str, float], seed: int, by: str) -> dict[int, str]:
    """Give every cluster to the split that lacks most of its share, large ones first, equal ones in a seeded order."""
    sizes = Counter(members.values())
    if max(sizes.values()) > _MOST_IN_ONE * len(members) or len(sizes) < len(shares):
        raise InputError(
            f"dataset.split_by={by}: {max(sizes.values())} of {len(members)} rows are in one cluster, too many to "
            "divide; raise dataset.identity, or choose dataset.split_by=random"
        )
    order = keyed_generator(seed, "split", by).permutation(len(sizes))
    shuffled = [list(sizes)[place] for place in order.tolist()]
    filled = dict.fromkeys(shares, 0.0)
    where: dict[Any, str] = {}
    for cluster in sorted(shuffled, key=lambda each: -sizes[each]):
        split = min(shares, key=lambda name: (filled[name] + sizes[cluster] / 2) / shares[name])
        where[cluster] = split
        filled[split] += sizes[cluster]
    return {row: where[cluster] for row, cluster in members.items()}


def _by_position(sequences: Mapping[int, str], parent: str, shares: Mapping[str, float], seed: int) -> Splits:
    """Hold out positions: a mutant is in the split of all of its positions, and left out where they are of several."""
    changed = {row: changed_positions(sequence, parent) for row, sequence in sequences.items()}
    positions = sorted(set().union(*changed.values()))
    if len(positions) < 10:
        raise InputError(
            f"only {len(positions)} positions are mutated, too few to hold out; use dataset.split_by=random"
        )
    order = keyed_generator(seed, "split", "position").permutation(len(positions))
    ends = np.cumsum([shares[name] for name in shares]) * len(positions)
    numbers = np.searchsorted(ends, np.arange(len(positions)), "right").clip(max=len(shares) - 1)
    split_of = {positions[place]: list(shares)[number] for place, number in zip(order, numbers, strict=True)}
    found, dropped = {}, Counter[str]()
    for row, places in changed.items():
        splits = {split_of[place] for place in places} or {"train"}
        if len(splits) > 1:
            dropped["rows with positions of several splits"] += 1
        else:
            found[row] = splits.pop()
    return Splits(found, "mutated positions", dict(dropped))


def leakage(train: Sequence[str], test: Sequence[str]) -> dict[str, float]:
    """Return the share of test sequences with a neighbour in train at or above an identity, by the identity.

    Mutants of one parent are aligned as they are; all others by MMseqs2.
    """
    mutants = common_parent([*train, *test]) is not None
    best = (nearest_aligned if mutants else nearest_identity)(test, train)
    return {f"{level:g}": float((best >= level).mean()) for level in LEAKAGE_AT}
