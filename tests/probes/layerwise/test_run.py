"""A probe cell: what it leaves, that it finds a planted layer, and that keeping features changes no number."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from plmdepth.cells.cell import run_cell
from plmdepth.errors import InputError
from plmdepth.language_models.weights import load_stack
from plmdepth.probes.layerwise.cell import ProbeCell, check_all_layers, check_task
from plmdepth.probes.layerwise.data import LiveResidues, Pooled
from plmdepth.probes.layerwise.features import Pooling
from plmdepth.probes.layerwise.heads import read_heads
from plmdepth.probes.layerwise.recipe import LinearRecipe, MLPRecipe, ResidueLinearRecipe
from plmdepth.probes.layerwise.split_features import SplitFeatures
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.tasks.task import NOT_SCORED, Kind, Labelled, Task
from plmdepth.randomness import keyed_generator
from plmdepth.results.record import Record, read_record
from tests.probes.cells import CLASSES, MODEL, QUICK, TRAINER, cell_of, plant, task_of

FIRST = 4
READINGS: list[tuple[Kind, Pooling]] = [("multiclass", "mean"), ("multilabel", "attention"), ("residue", "mean")]


def record_of(cell: ProbeCell, folder: Path) -> Record:
    run_cell(cell, folder, "{}")
    return read_record(folder)


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "residue"])
def test_the_first_layer_that_shows_the_label_is_the_best(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(kind)
    plant(monkeypatch, task, FIRST)
    record, metric = record_of(cell_of(task, tmp_path), tmp_path / "run"), task.metrics[0]
    scalars = record.result["scalars"]
    assert scalars["best_layer"] == FIRST
    assert scalars["best_layer_depth"] == FIRST / 6
    assert scalars[f"test_{metric}_best"] == pytest.approx(1.0)
    assert scalars[f"test_{metric}_gain"] == pytest.approx(0.0)
    layers = pd.read_csv(record.folder / "layers.csv").set_index("layer")
    assert layers.index[0] == FIRST
    assert (layers.loc[range(FIRST), "test_difference_to_last_high"] < 0).all()
    assert (layers.loc[range(FIRST, 7), f"test_{metric}"] == 1).all()


def test_the_record_holds_the_heads_their_history_and_the_scores(tmp_path: Path) -> None:
    task = task_of("multiclass")
    record = record_of(cell_of(task, tmp_path), tmp_path / "run")
    assert {path.name for path in record.folder.iterdir()} == {
        *("config.yaml", "status.json", "result.json", "curves.parquet"),
        *("heads.safetensors", "layers.csv"),
    }
    assert set(record.curves["component"]) == {"valid", "test"}
    assert set(record.curves["quantity"]) == {"accuracy", "macro_accuracy", "mcc"}
    assert record.result["task"]["proteins"] == {"train": 200, "valid": 30, "test": 40}
    assert record.result["converged"] == {str(layer): True for layer in range(7)}
    assert record.result["fit"]["method"] == "lbfgs"
    layers = pd.read_csv(record.folder / "layers.csv")
    assert (layers.sort_values("layer")["milliseconds"].diff().dropna() > 0).all()  # a later layer is later


def test_trained_heads_leave_their_history_and_say_whether_they_had_come_to_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of("multiclass")
    plant(monkeypatch, task, FIRST)
    recipe = MLPRecipe(epochs=2, n_replicates=4)
    record = record_of(cell_of(task, tmp_path, recipe), tmp_path / "run")
    assert sorted(pd.read_parquet(record.folder / "history.parquet")["layer"].unique()) == list(range(7))
    assert record.result["fit"]["method"] == "adam"
    assert not all(record.result["converged"][str(layer)] for layer in range(FIRST, 7))


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "residue"])
@pytest.mark.parametrize("make", [LinearRecipe, MLPRecipe])
def test_a_class_that_train_lacks_is_never_predicted(kind: Kind, make: Any, tmp_path: Path) -> None:
    task = task_of(kind, train=30, valid=10, test=10)
    lacking = tuple(Labelled(each.protein, _without_last(each.label, kind)) for each in task.splits["train"])
    cell = cell_of(replace(task, splits={**task.splits, "train": lacking}), tmp_path, make(epochs=1, n_replicates=2))
    record_of(cell, tmp_path / "run")
    heads = read_heads(cell.untrained_heads(MODEL.width), tmp_path / "run" / "heads.safetensors")
    features = 100 * torch.randn((500, 7, MODEL.width), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for logits in (heads.predict(features), heads.read(3, features[:, 3])[:, None]):
            assert (logits[..., 2] == -torch.inf).all()
            assert logits[..., :2].isfinite().all()


def _without_last(label: np.ndarray, kind: Kind) -> np.ndarray:
    return label & np.array([True, True, False]) if kind == "multilabel" else np.asarray(label % 2)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "residue"])
def test_labels_that_never_vary_are_refused(kind: Kind, split: str, tmp_path: Path) -> None:
    task = task_of(kind, train=9, valid=5, test=5)
    same = tuple(Labelled(each.protein, np.zeros_like(each.label)) for each in task.splits[split])
    with pytest.raises(InputError, match=f"all labels of {split} are the same"):
        check_task(replace(task, splits={**task.splits, split: same}), LinearRecipe())


def test_twenty_copies_of_every_protein_make_no_interval_narrower(tmp_path: Path) -> None:
    task = task_of("multiclass", test=12)
    copies = tuple(
        Labelled(replace(each.protein, id=f"{each.protein.id}_{copy}", copy_of=each.protein.id), each.label)
        for each in task.splits["test"]
        for copy in range(20)
    )
    copied = replace(task, splits={**task.splits, "test": copies})
    one, twenty = (
        record_of(cell_of(each, tmp_path), tmp_path / name).curves.query("component == 'test'")
        for name, each in (("one", task), ("twenty", copied))
    )
    for column in ("value", "ci_low", "ci_high"):
        np.testing.assert_allclose(one[column], twenty[column], atol=1e-9)
    assert (twenty["n"] == 240).all()


def test_twelve_of_twelve_right_leave_room_for_one_that_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of("multiclass", test=12)
    plant(monkeypatch, task, FIRST)
    record = record_of(cell_of(task, tmp_path), tmp_path / "run")
    best = record.curves.query("component == 'test' and quantity == 'accuracy' and layer == 6").iloc[0]
    assert (best["value"], best["ci_low"], best["ci_high"]) == pytest.approx((1, 0.735, 1), abs=1e-3)
    layers = pd.read_csv(record.folder / "layers.csv").set_index("layer")
    gap = layers.loc[FIRST, [f"test_difference_to_last{end}" for end in ("", "_low", "_high")]]
    assert gap.tolist() == pytest.approx([0, -0.265, 0.265], abs=1e-3)
    assert layers.loc[6, "test_difference_to_last_high"] == 0


def test_features_that_are_not_kept_give_the_same_heads_and_scores(tmp_path: Path) -> None:
    task = task_of("multiclass")
    recipes = [replace(QUICK, epochs=3, learning_rate=1e-3, cache=cache) for cache in (True, False)]
    records = [record_of(cell_of(task, tmp_path, each), tmp_path / str(each.cache)) for each in recipes]
    kept, live = (load_file(record.folder / "heads.safetensors") for record in records)
    for name, tensor in kept.items():
        torch.testing.assert_close(live[name], tensor, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(records[0].curves["value"], records[1].curves["value"], atol=0.03)
    assert (tmp_path / "features").is_dir()


@pytest.mark.parametrize(("kind", "pooling"), READINGS)
@pytest.mark.parametrize("cache_dtype", ["float32", "bfloat16"])
def test_features_are_the_same_kept_or_not(kind: Kind, pooling: Pooling, cache_dtype: Any, tmp_path: Path) -> None:
    task = task_of(kind, train=12, valid=3, test=5)
    stack = load_stack(MODEL, 0)
    batches = []
    for cache in (True, False):
        recipe = replace(QUICK, pooling=pooling, cache=cache, cache_dtype=cache_dtype)
        read = SplitFeatures(cell_of(task, tmp_path, recipe), stack, torch.device("cpu")).of("train")
        features, labels = read([7, 2, 9])
        batches.append((*(features if isinstance(features, tuple) else (features,)), labels))
    step = 1e-2 if cache_dtype == "bfloat16" else 1e-5  # padding rounds differently, and half precision rounds again
    for kept, live in zip(*batches, strict=True):
        torch.testing.assert_close(kept, live, rtol=step, atol=1e-5)
    for features in (batches[0][0], batches[1][0]):
        assert torch.equal(features, features.to(getattr(torch, cache_dtype)).float())


def test_features_of_residues_give_the_same_heads_kept_or_not(tmp_path: Path) -> None:
    task = task_of("residue", train=40, valid=10, test=10)
    recipes = [replace(QUICK, epochs=3, learning_rate=1e-3, cache=cache) for cache in (True, False)]
    records = [record_of(cell_of(task, tmp_path, each), tmp_path / str(each.cache)) for each in recipes]
    kept, live = (load_file(record.folder / "heads.safetensors") for record in records)
    for name, tensor in kept.items():
        torch.testing.assert_close(live[name], tensor, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(records[0].curves["value"], records[1].curves["value"], atol=0.02)


def test_residues_that_do_not_fit_are_not_kept_and_vectors_are_refused(tmp_path: Path) -> None:
    few = {"train": 10, "valid": 4, "test": 4}
    small = replace(QUICK, epochs=1, cache_gigabytes=1e-6)
    cell = cell_of(task_of("residue", **few), tmp_path, small)
    assert record_of(cell, tmp_path / "residues").result["task"]["kind"] == "residue"
    assert not (tmp_path / "features").exists()
    with pytest.raises(InputError, match=r"18 proteins take 0\.00 GB, probe\.cache_gigabytes is 1e-06"):
        record_of(cell_of(task_of("multiclass", **few), tmp_path, small), tmp_path / "vectors")
    assert not (tmp_path / "vectors").exists()


def test_heads_are_on_chosen_layers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of("multiclass")
    plant(monkeypatch, task, FIRST)
    record = record_of(cell_of(task, tmp_path, replace(QUICK, layers=[5, 0, 3])), tmp_path / "run")
    scalars = record.result["scalars"]
    assert (scalars["best_layer"], scalars["best_layer_depth"]) == (5, 5 / 6)
    assert scalars["test_accuracy_best"] == scalars["test_accuracy_last"] == 1.0
    layers = pd.read_csv(record.folder / "layers.csv")
    assert layers["layer"].tolist()[0] == 5
    assert sorted(layers["layer"]) == [0, 3, 5]
    assert layers.set_index("layer").loc[5, "test_difference_to_last"] == 0
    assert layers.set_index("layer").loc[0, "test_difference_to_last"] < -0.2
    assert sorted(record.curves["layer"].unique()) == [0, 3, 5]
    assert record.curves["value"].notna().all()
    assert list(record.result["converged"]) == ["0", "3", "5"]
    with safe_open(record.folder / "heads.safetensors", "pt") as file:
        assert file.metadata()["layers"] == "0,3,5"
        assert {name.split(".")[1] for name in file.keys()} == {"0", "1", "2"}  # noqa: SIM118 (a file is no mapping)


def test_a_chosen_layer_has_the_scores_that_it_has_among_all(tmp_path: Path) -> None:
    task = task_of("residue", train=40, valid=10, test=10)
    recipe = replace(QUICK, epochs=8)
    every, some = (
        record_of(cell_of(task, tmp_path, replace(recipe, layers=layers)), tmp_path / str(layers)).curves
        for layers in (None, [0, 6])
    )
    both = every.merge(some, on=["quantity", "component", "layer"])
    assert len(both) == 3 * 2 * 2
    np.testing.assert_allclose(both["value_x"], both["value_y"], atol=0.1)  # the heads begin elsewhere


@pytest.mark.parametrize(("layers", "wrong"), [([0, 7], 7), ([-1], -1)])
def test_a_layer_that_is_not_there_is_refused(layers: list[int], wrong: int, tmp_path: Path) -> None:
    cell = cell_of(task_of("multiclass", train=2, valid=2, test=2), tmp_path, replace(QUICK, layers=layers))
    with pytest.raises(InputError, match=rf"there is no layer {wrong}; choose among 0 \(the embedding\) to 6"):
        run_cell(cell, tmp_path / "run", "{}")
    with pytest.raises(InputError, match=r"probe\.layers=\[\] names no layer"):
        replace(QUICK, layers=[])


def test_what_reads_all_layers_refuses_chosen_ones() -> None:
    check_all_layers(QUICK)
    with pytest.raises(InputError, match=r"exit=early needs heads on all layers, .* probe\.layers=null"):
        check_all_layers(replace(QUICK, layers=[1]))


def plant_marked(patch: pytest.MonkeyPatch, task: Task, length: int) -> None:
    """Let every residue name a class, and one residue of each protein, which is marked, the class of the protein."""
    labels = {each.protein.id: int(each.label) for members in task.splits.values() for each in members}

    def residues(live: LiveResidues | Pooled, protein: Protein) -> torch.Tensor:
        random = keyed_generator(0, "marked", protein.id)
        named, place = random.integers(len(CLASSES), size=length), random.integers(length)
        named[place] = labels[protein.id]
        states = torch.from_numpy(random.normal(size=(length, 7, live.stack.width))).float() / 10
        states[:, :, : len(CLASSES)] += torch.eye(len(CLASSES))[named][:, None]
        states[place, FIRST:, len(CLASSES)] += 1
        return states

    patch.setattr(LiveResidues, "features", lambda live, found: torch.cat([residues(live, each) for each in found]))
    patch.setattr(Pooled, "features", lambda live, found: torch.stack([residues(live, each).mean(0) for each in found]))


def test_attention_finds_the_one_residue_that_the_mean_of_many_drowns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up, length = task_of("multiclass", train=300, valid=60, test=60), 50
    splits = {
        split: tuple(Labelled(Protein(each.protein.id, "A" * length), each.label) for each in members)
        for split, members in made_up.splits.items()
    }
    task = replace(made_up, splits=splits)
    plant_marked(monkeypatch, task, length)
    accuracy = {}
    for pooling in ("mean", "attention"):
        recipe = replace(QUICK, epochs=40, learning_rate=0.05, pooling=pooling)
        curves = record_of(cell_of(task, tmp_path, recipe), tmp_path / pooling).curves
        accuracy[pooling] = curves.query("quantity == 'accuracy' and component == 'test'").set_index("layer")["value"]
    assert accuracy["attention"][FIRST:].min() > 0.95
    assert accuracy["attention"][:FIRST].max() < 0.65  # no residue is marked there
    assert accuracy["mean"].max() < 0.65


@pytest.mark.parametrize(("kind", "pooling"), READINGS)
def test_shuffled_labels_are_guessed(kind: Kind, pooling: Pooling, tmp_path: Path) -> None:
    task = task_of(kind, train=100, valid=30, test=60)
    splits = {split: _shuffled(members) for split, members in task.splits.items()} if kind == "residue" else task.splits
    recipe = replace(QUICK, pooling=pooling, epochs=4)
    record = record_of(cell_of(replace(task, splits=splits), tmp_path, recipe), tmp_path / "run")
    curves = record.curves[record.curves["component"] == "test"]
    if kind == "multilabel":  # half of the terms are true: saying all of them is as good as any guess
        assert curves[curves["quantity"] == "f1_max"]["value"].between(0.6, 0.8).all()
    else:
        assert curves[curves["quantity"] == "mcc"]["value"].abs().max() < 0.35
        assert abs(curves[curves["quantity"] == "mcc"]["value"].mean()) < 0.1


def _shuffled(members: tuple[Labelled, ...]) -> tuple[Labelled, ...]:
    return tuple(
        Labelled(each.protein, keyed_generator(0, "shuffled", each.protein.id).permutation(each.label))
        for each in members
    )


@pytest.mark.parametrize(("kind", "pooling"), READINGS)
@pytest.mark.parametrize("make", [LinearRecipe, MLPRecipe])
def test_half_precision_runs_from_features_to_scores(make: Any, kind: Kind, pooling: Pooling, tmp_path: Path) -> None:
    task = task_of(kind, train=20, valid=6, test=6)
    recipe = make(pooling=pooling, epochs=2, n_replicates=4, cache_dtype="bfloat16")
    trainer = partial(TRAINER, precision="bf16-mixed")
    record = record_of(cell_of(task, tmp_path, recipe, trainer=trainer), tmp_path / "run")
    assert record.curves["value"].notna().all()
    heads = load_file(record.folder / "heads.safetensors").values()
    assert {each.dtype for each in heads} <= {torch.float32, torch.int64}


def test_a_second_run_computes_no_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of("multiclass")
    first = record_of(cell_of(task, tmp_path), tmp_path / "first")

    def refuse(*_: object) -> None:
        raise AssertionError("features were computed again")

    monkeypatch.setattr(Pooled, "features", refuse)
    again = record_of(cell_of(task, tmp_path), tmp_path / "again")
    assert again.curves.equals(first.curves)
    record_of(cell_of(task, tmp_path, MLPRecipe(epochs=1, n_replicates=2)), tmp_path / "mlp")
    with pytest.raises(AssertionError, match="computed again"):
        record_of(cell_of(task, tmp_path, replace(QUICK, cache=False)), tmp_path / "live")
    with pytest.raises(AssertionError, match="computed again"):
        record_of(cell_of(task, tmp_path, replace(QUICK, pooling="cls")), tmp_path / "cls")


def test_the_seed_decides_the_heads_and_nothing_else_does(tmp_path: Path) -> None:
    task = task_of("multiclass")
    runs = {name: record_of(cell_of(task, tmp_path, seed=seed), tmp_path / name) for name, seed in
            (("a", 0), ("b", 0), ("c", 1))}  # fmt: skip
    heads = {name: load_file(record.folder / "heads.safetensors")["layers.6.1.weight"] for name, record in runs.items()}
    assert torch.equal(heads["a"], heads["b"])
    assert not torch.equal(heads["a"], heads["c"])


def test_a_norm_over_the_batch_survives_a_last_protein_alone(tmp_path: Path) -> None:
    task = task_of("multiclass", train=9)
    recipe = MLPRecipe(epochs=2, batch_size=4, n_replicates=2)
    record = record_of(cell_of(task, tmp_path, recipe), tmp_path / "run")
    assert record.curves["value"].notna().all()


def test_labels_of_residues_are_learnt_where_the_letters_are(tmp_path: Path) -> None:
    task = task_of("residue")
    recipe = ResidueLinearRecipe(epochs=10, batch_size=8, learning_rate=0.05, n_replicates=20)
    record = record_of(cell_of(task, tmp_path, recipe), tmp_path / "run")
    accuracy = record.curves.query("quantity == 'accuracy' and component == 'test'").set_index("layer")["value"]
    assert accuracy[0] == 1.0  # the embedding spells the letter


def test_residues_that_are_not_scored_do_not_count(tmp_path: Path) -> None:
    task = task_of("residue", test=5)
    wrong = tuple(_half_hidden(each) for each in task.splits["test"])
    hidden = replace(task, splits={**task.splits, "test": wrong})
    recipe = ResidueLinearRecipe(epochs=10, batch_size=8, learning_rate=0.05, n_replicates=20)
    record = record_of(cell_of(hidden, tmp_path, recipe), tmp_path / "run")
    accuracy = record.curves.query("quantity == 'accuracy' and component == 'test' and layer == 0")["value"]
    assert accuracy.tolist() == [1.0]


def _half_hidden(labelled: Labelled) -> Labelled:
    label = labelled.label.copy()
    label[::2] = NOT_SCORED
    return Labelled(labelled.protein, label)


def test_settings_for_residues_are_refused_where_proteins_have_labels() -> None:
    few = {"train": 2, "valid": 2, "test": 2}
    for recipe in (LinearRecipe(), ResidueLinearRecipe()):
        check_task(task_of("residue", **few), recipe)
    with pytest.raises(InputError, match="probe=residue_linear does not fit dataset=made_up; use probe=linear or mlp"):
        check_task(task_of("multilabel", **few), ResidueLinearRecipe())


def test_the_identity_follows_the_labels_and_the_recipe_and_not_the_folder(tmp_path: Path) -> None:
    task = task_of("multiclass")
    same = {cell_of(task, tmp_path / name, model=MODEL).identity.id for name in "ab"}
    assert len(same) == 1
    others = [cell_of(task_of("multiclass", train=201), tmp_path), cell_of(task, tmp_path, replace(QUICK, epochs=2))]
    assert len({*same, *(cell.identity.id for cell in others)}) == 3


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "residue"])
def test_a_subset_of_the_test_is_scored_as_a_test_of_its_own(kind: Kind, tmp_path: Path) -> None:
    task = task_of(kind)
    members = task.splits["test"]
    chosen = members[3:30:2]
    subsets = {"identity_30": frozenset(each.protein.id for each in chosen)}
    recipe = replace(QUICK, epochs=3)
    together = record_of(cell_of(replace(task, subsets=subsets), tmp_path, recipe), tmp_path / "together").curves
    alone = record_of(
        cell_of(replace(task, splits={**task.splits, "test": chosen}), tmp_path, recipe), tmp_path / "alone"
    ).curves
    part, own = (
        each[each["component"] == name].drop(columns="component").reset_index(drop=True)
        for each, name in ((together, "test_identity_30"), (alone, "test"))
    )
    assert len(own) > 0
    pd.testing.assert_frame_equal(part, own, rtol=1e-6)
    whole = together[together["component"] == "test"]
    assert (whole["n"].to_numpy() > part["n"].to_numpy()).all()
