"""A probe cell: what it leaves, that it finds a planted layer, and that keeping features changes no number."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from plmdepth.errors import InputError
from plmdepth.probes.layerwise.data import Pooled
from plmdepth.probes.layerwise.recipe import LinearRecipe, MLPRecipe, ResidueLinearRecipe
from plmdepth.probes.layerwise.run import ProbeCell, check_task, run_probe_cell
from plmdepth.proteins.tasks.task import NOT_SCORED, Kind, Labelled
from plmdepth.results.record import Record, read_record
from tests.probes.cells import MODEL, QUICK, cell_of, plant, task_of

FIRST = 3


def record_of(cell: ProbeCell, folder: Path) -> Record:
    run_probe_cell(cell, folder, "{}")
    return read_record(folder)


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
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
        *("heads.safetensors", "history.parquet", "layers.csv"),
    }
    assert set(record.curves["component"]) == {"valid", "test"}
    assert set(record.curves["quantity"]) == {"accuracy", "macro_accuracy", "mcc"}
    assert record.result["task"]["proteins"] == {"train": 200, "valid": 30, "test": 40}
    assert sorted(pd.read_parquet(record.folder / "history.parquet")["layer"].unique()) == list(range(7))
    layers = pd.read_csv(record.folder / "layers.csv")
    assert (layers.sort_values("layer")["milliseconds"].diff().dropna() > 0).all()  # a later layer is later


def test_features_that_are_not_kept_give_the_same_heads_and_scores(tmp_path: Path) -> None:
    task = task_of("multiclass")
    recipes = [replace(QUICK, epochs=3, learning_rate=1e-3, cache=cache) for cache in (True, False)]
    records = [record_of(cell_of(task, tmp_path, each), tmp_path / str(each.cache)) for each in recipes]
    kept, live = (load_file(record.folder / "heads.safetensors") for record in records)
    for name, tensor in kept.items():
        torch.testing.assert_close(live[name], tensor, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(records[0].curves["value"], records[1].curves["value"], atol=0.03)
    assert (tmp_path / "features").is_dir()


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


def test_figures_are_drawn_of_a_whole_record_and_become_part_of_it(tmp_path: Path) -> None:
    seen: set[str] = set()

    def draw(folder: Path) -> None:
        seen.update(path.name for path in folder.iterdir())
        (folder / "figures").mkdir()
        (folder / "figures" / "a.svg").write_text("drawn")

    run_probe_cell(cell_of(task_of("multiclass"), tmp_path), tmp_path / "run", "{}", draw)
    assert {"curves.parquet", "layers.csv", "result.json"} <= seen
    assert (tmp_path / "run" / "figures" / "a.svg").read_text() == "drawn"


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
    assert not (tmp_path / "features").exists()


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


@pytest.mark.parametrize(
    ("kind", "recipe", "message"),
    [
        (
            "residue",
            LinearRecipe(),
            "probe=linear does not fit dataset=made_up; use probe=residue_linear or residue_mlp",
        ),
        ("multilabel", ResidueLinearRecipe(), "probe=residue_linear does not fit dataset=made_up; use .*linear or mlp"),
    ],
)
def test_a_probe_that_reads_other_labels_is_refused(kind: Kind, recipe: LinearRecipe, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_task(task_of(kind, train=2, valid=2, test=2), recipe)


def test_the_identity_follows_the_labels_and_the_recipe_and_not_the_folder(tmp_path: Path) -> None:
    task = task_of("multiclass")
    same = {cell_of(task, tmp_path / name, model=MODEL).identity.id for name in "ab"}
    assert len(same) == 1
    others = [cell_of(task_of("multiclass", train=201), tmp_path), cell_of(task, tmp_path, replace(QUICK, epochs=2))]
    assert len({*same, *(cell.identity.id for cell in others)}) == 3
