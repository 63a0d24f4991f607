from pathlib import Path
from typing import Any

import pytest
from tests.proteins.tasks.files import written

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.deeploc import DeeplocDataset
from plmdepth.proteins.tasks.task import Task

LIGHT_ATTENTION = {
    "deeploc_our_train_set.fasta": ">Q1 Nucleus-U\nMKTV\n>Q2 Plastid-M\nACDE\n",
    "deeploc_our_val_set.fasta": ">V1 Plastid-S\nWWW\n",
    "deeploc_test_set.fasta": ">T1 Nucleus-S test\nYYYY\n",
    "setHARD.fasta": ">H1 Cytoplasm-U new_test_set\nGGG\n",
}
MANY = "".join(f">A{n} Nucleus-M\n{'M' * (n + 1)}\n" for n in range(200))


def dataset(root: Path, target: Any = "location", **options: Any) -> DeeplocDataset:
    return DeeplocDataset(name="mine", root=str(root), target=target, **options)


def real(shared_data: Path, target: str, **options: Any) -> DeeplocDataset:
    options = {"train_file": "deeploc_our_val_set.fasta", "length_policy": "truncate"} | options
    return dataset(shared_data / "subcellular_deeploc", target, **options)


def ids(task: Task) -> dict[str, list[str]]:
    return {split: [each.protein.id for each in members] for split, members in task.splits.items()}


def sizes(task: Task) -> dict[str, int]:
    return {split: len(members) for split, members in task.splits.items()}


def test_the_files_of_light_attention_are_splits(tmp_path: Path) -> None:
    task = dataset(written(tmp_path, LIGHT_ATTENTION)).load_task(1022, seed=0)
    assert (task.kind, task.metrics[0], len(task.classes)) == ("multiclass", "accuracy", 10)
    assert ids(task) == {"train": ["Q1", "Q2"], "valid": ["V1"], "test": ["T1"], "set_hard": ["H1"]}


def test_set_hard_knows_no_membrane(tmp_path: Path) -> None:
    task = dataset(written(tmp_path, LIGHT_ATTENTION), "membrane").load_task(1022, seed=0)
    assert ids(task) == {"train": ["Q2"], "valid": ["V1"], "test": ["T1"]}
    assert list(task.absent) == ["set_hard"]
    assert task.classes == ("soluble", "membrane")
    assert [int(each.label) for each in task.splits["train"]] == [1]


def test_set_hard_may_be_missing(tmp_path: Path) -> None:
    files = {name: content for name, content in LIGHT_ATTENTION.items() if name != "setHARD.fasta"}
    task = dataset(written(tmp_path, files)).load_task(1022, seed=0)
    assert list(task.splits) == ["train", "valid", "test"]
    assert task.absent == {"set_hard": "no setHARD.fasta"}


@pytest.mark.parametrize("missing", [name for name in LIGHT_ATTENTION if name != "setHARD.fasta"])
def test_another_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    written(tmp_path, {name: content for name, content in LIGHT_ATTENTION.items() if name != missing})
    with pytest.raises(InputError) as caught:
        dataset(tmp_path).load_task(1022, seed=0)
    assert f"no {missing} in {tmp_path}" in str(caught.value)
    assert "dataset.download=true" in str(caught.value)


def test_the_complete_file_is_enough(tmp_path: Path) -> None:
    content = MANY + ">T1 Plastid-S test\nWWW\n"
    root = written(tmp_path, {"deeploc_complete_dataset.fasta": content})
    task = dataset(root, layout="complete").load_task(1022, seed=0)
    assert ids(task)["test"] == ["T1"]
    assert sizes(task)["train"] + sizes(task)["valid"] == 200
    assert 5 <= sizes(task)["valid"] <= 40


@pytest.mark.parametrize(
    ("target", "stem", "names"),
    [("location", "subcellular_localization", "Cytoplasm"), ("membrane", "binary_localization", "class_1")],
)
def test_the_split_of_peer_is_read(tmp_path: Path, target: str, stem: str, names: str) -> None:
    rows = {f"{stem}_{s}.csv": f"prot_seq,localization\n{s[:2].upper()},1\n" for s in ("train", "valid", "test")}
    rows = {
        name: content.replace("\nTR", "\nMK").replace("\nVA", "\nAC").replace("\nTE", "\nGG")
        for name, content in rows.items()
    }
    task = dataset(written(tmp_path, rows), target, layout="peer").load_task(1022, seed=0)
    assert ids(task) == {"train": ["train_00001"], "valid": ["valid_00001"], "test": ["test_00001"]}
    assert task.classes[int(task.splits["test"][0].label)] == names


def test_a_missing_file_of_peer_cannot_be_fetched(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        dataset(tmp_path, layout="peer").load_task(1022, seed=0)
    assert "no subcellular_localization_train.csv" in str(caught.value)
    assert "dataset.download" not in str(caught.value)


def test_real_proteins_have_the_counts_of_their_source(shared_data: Path) -> None:
    task = real(shared_data, "location").load_task(1022, seed=0)
    counts = sizes(task)
    assert counts["train"] + counts["valid"] == 1666 - 23
    assert (counts["test"], counts["set_hard"]) == (2339, 398)
    assert task.dropped == {"train: Cytoplasm-Nucleus is two classes": 23}
    in_test = dict(zip(task.classes, task.positives("test"), strict=True))
    assert (in_test["Nucleus"], in_test["Peroxisome"]) == (689, 21)
    assert task.without_positive() == task.without_positive("test") == ()


def test_long_real_proteins_are_truncated_and_counted(shared_data: Path) -> None:
    task = real(shared_data, "location").load_task(1022, seed=0)
    assert max(len(each.protein) for members in task.splits.values() for each in members) == 1022
    assert task.changes["test: sequences truncated"] == 256
    whole = real(shared_data, "location", length_policy="error").load_task(20000, seed=0)
    lengths = [len(each.protein) for members in whole.splits.values() for each in members]
    assert (min(lengths), max(lengths)) == (40, 13100)


def test_membrane_of_real_proteins_leaves_out_the_unknown(shared_data: Path) -> None:
    task = real(shared_data, "membrane").load_task(1022, seed=0)
    assert task.dropped["test: membrane or soluble is unknown"] == 866
    assert task.dropped["set_hard: membrane or soluble is unknown"] == 398
    assert sizes(task)["test"] == 2339 - 866
    assert task.positives("test").tolist() == [859, 614]


def test_train_and_valid_of_one_file_share_nothing(shared_data: Path) -> None:
    task = real(shared_data, "location").load_task(20000, seed=0)
    train, valid = ({each.protein.sequence for each in task.splits[split]} for split in ("train", "valid"))
    assert not train & valid
    assert 120 < len(valid) < 210
