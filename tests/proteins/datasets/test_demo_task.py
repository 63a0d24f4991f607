from typing import Any, get_args

import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.demo import DemoDataset
from plmdepth.proteins.datasets.demo_task import DemoTaskDataset
from plmdepth.proteins.tasks.demo import DemoLabel


def dataset(label: Any = "family", **options: Any) -> DemoTaskDataset:
    return DemoTaskDataset(name="mine", label=label, **{"train_size": 30, "valid_size": 20, "test_size": 25, **options})


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_the_proteins_are_those_of_the_demo(split: Any) -> None:
    sizes = {"train": 30, "valid": 20, "test": 25}
    demo = DemoDataset(name="demo", split=split, size=sizes[split]).proteins(1022, seed=0)
    assert dataset(split=split).proteins(1022, seed=0) == demo


@pytest.mark.parametrize("label", get_args(DemoLabel))
def test_every_label_makes_a_task(label: str) -> None:
    task = dataset(label).load_task(126, seed=0)
    assert {split: len(members) for split, members in task.splits.items()} == {"train": 30, "valid": 20, "test": 25}
    assert task.name == "mine"
    assert dict(task.dropped) == dict(task.absent) == {}


def test_labels_of_residues_follow_truncation() -> None:
    whole, cut = (dataset("structure", length_policy="truncate").load_task(limit, seed=0) for limit in (126, 20))
    for one, other in zip(whole.splits["test"], cut.splits["test"], strict=True):
        assert other.label.tolist() == one.label[:20].tolist()


@pytest.mark.parametrize("option", ["train_size", "valid_size", "test_size", "limit"])
def test_a_number_below_one_is_refused_by_name(option: str) -> None:
    with pytest.raises(InputError, match=rf"dataset\.{option} must be at least 1, got 0"):
        dataset(**{option: 0})
