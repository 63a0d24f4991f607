from pathlib import Path
from typing import Any

import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.cath import CathDataset


def dataset(root: Path, **options: Any) -> CathDataset:
    return CathDataset(name="fold", root=str(root), **options)


def test_missing_labels_are_named_and_cannot_be_fetched(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        dataset(tmp_path).load_task(1022, seed=0)
    assert f"no labels.csv in {tmp_path}; dataset.root should hold labels.csv, cath_single" in str(caught.value)
    assert "download" not in str(caught.value)


def test_missing_sequences_are_named(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,cath,fold_topology,split\n")
    with pytest.raises(InputError, match=r"no cath_single_domain_chains\.fasta"):
        dataset(tmp_path).load_task(1022, seed=0)


def test_real_domains_have_the_counts_of_their_source(shared_data: Path) -> None:
    task = dataset(shared_data / "fold_cath").load_task(1022, seed=0)
    assert {split: len(members) for split, members in task.splits.items()} == {
        "train": 2304,
        "valid": 290,
        "test": 256,
        "test_superfamily_holdout": 842,
    }
    assert len(task.classes) == 68
    assert dict(task.dropped) == {}
    largest = sum(task.positives(split)[task.classes.index("3.40.50")] for split in task.splits)
    assert largest == 675


def test_folds_of_one_superfamily_have_no_holdout(shared_data: Path) -> None:
    task = dataset(shared_data / "fold_cath").load_task(1022, seed=0)
    assert len(task.without_positive("test_superfamily_holdout")) == 12
    assert task.without_positive() == ()


def test_the_holdout_can_be_measured(shared_data: Path) -> None:
    chosen = dataset(shared_data / "fold_cath", split="test_superfamily_holdout", limit=50).proteins(1022, seed=0)
    assert len(chosen.proteins) == 50
