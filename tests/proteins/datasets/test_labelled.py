"""What all labelled data sets share, on one that needs no files."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.labelled import FilesDataset, LabelledDataset
from plmdepth.proteins.protein import CANONICAL
from plmdepth.proteins.tasks.download import Remote
from plmdepth.proteins.tasks.raw import Entry, RawTask

FIRST = {"train": "A", "valid": "C", "test": "D"}
"""The first letter of all proteins of a split, so that splits share none."""


def entries(split: str, count: int) -> tuple[Entry, ...]:
    return tuple(
        Entry(f"{split}_{n}", FIRST[split] + CANONICAL[n:] + CANONICAL[:n], np.arange(21)) for n in range(count)
    )


@dataclass(frozen=True, kw_only=True)
class Mine(LabelledDataset):
    name: str = "mine"

    def read(self) -> RawTask:
        splits = {split: entries(split, n) for split, n in (("train", 20), ("valid", 8), ("test", 9))}
        leak = Entry("leak", splits["test"][0].text, np.arange(21))
        return RawTask("residue", (*CANONICAL, "x"), splits | {"train": (*splits["train"], leak), "hard": ()})


@pytest.mark.parametrize("options", [{}, {"limit": 4}, {"max_length": 5, "length_policy": "truncate"}])
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_the_proteins_of_a_split_are_those_of_the_task(split: str, options: dict[str, Any]) -> None:
    dataset = Mine(split=split, **options)
    task = dataset.load_task(1022, seed=3)
    assert tuple(each.protein for each in task.splits[split]) == dataset.proteins(1022, seed=3).proteins


def test_a_limit_holds_for_every_split() -> None:
    task = Mine(limit=6).load_task(1022, seed=0)
    assert {split: len(members) for split, members in task.splits.items()} == {"train": 6, "valid": 6, "test": 6}


def test_a_limit_is_seeded() -> None:
    assert Mine(limit=4).load_task(1022, seed=0).digest != Mine(limit=4).load_task(1022, seed=1).digest
    assert Mine(limit=4).load_task(1022, seed=0).digest == Mine(limit=4).load_task(1022, seed=0).digest


def test_labels_follow_the_length_policy_of_the_dataset() -> None:
    task = Mine(max_length=5, length_policy="truncate").load_task(1022, seed=0)
    assert {tuple(each.label) for members in task.splits.values() for each in members} == {(0, 1, 2, 3, 4)}


def test_the_length_limit_is_that_of_the_model() -> None:
    with pytest.raises(InputError, match="the limit is 20"):
        Mine().load_task(20, seed=0)


def test_a_leak_is_kept_out_of_task_and_proteins() -> None:
    assert "leak" not in [protein.id for protein in Mine(split="train").proteins(1022, 0).proteins]
    assert Mine().load_task(1022, 0).dropped == {"train: exact copy of a protein of another split": 1}


@pytest.mark.parametrize("split", ["hard", "other"])
def test_a_split_that_is_not_there_is_refused(split: str) -> None:
    with pytest.raises(InputError, match=f"dataset.split={split}"):
        Mine(split=split).proteins(1022, 0)


@dataclass(frozen=True, kw_only=True)
class Files(FilesDataset):
    name: str = "files"

    def read(self) -> RawTask:
        self.folder(("a.txt",), (Remote("a.txt", "https://127.0.0.1:9/a.txt", size=1),)).find("a.txt")
        return RawTask("multiclass", ("a",), {split: entries(split, 1) for split in ("train", "valid", "test")})


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    asked: list[object] = []

    def refuse(address: object, *args: object, **options: object) -> None:
        asked.append(address)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "create_connection", refuse)
    return asked


def test_nothing_is_fetched_unless_it_is_asked_for(tmp_path: Path, no_network: list[object]) -> None:
    with pytest.raises(InputError, match=r"dataset\.download=true"):
        Files(root=str(tmp_path)).load_task(1022, 0)
    assert no_network == []


def test_what_is_missing_is_fetched_where_it_is_asked_for(tmp_path: Path, no_network: list[object]) -> None:
    with pytest.raises(InputError, match=r"cannot fetch https://127\.0\.0\.1:9/a\.txt"):
        Files(root=str(tmp_path), download=True).load_task(1022, 0)
    assert len(no_network) == 1


def test_what_is_there_is_not_fetched(tmp_path: Path, no_network: list[object]) -> None:
    (tmp_path / "a.txt").touch()
    Files(root=str(tmp_path), download=True, max_length=21).read()
    assert no_network == []


def test_the_home_folder_may_be_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").touch()
    Files(root="~").read()


def test_building_needs_no_files() -> None:
    assert Files(root="nowhere").split == "test"
