"""What can be read from composition is read in full, what cannot be is not, and scores are those of the heads."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from plmdepth.cells.cell import run_cell
from plmdepth.metrics.accumulators import Estimate
from plmdepth.probes.layerwise import composition
from plmdepth.probes.layerwise.composition import (
    Composition,
    letters_of,
    measure_composition,
    protein_features,
    residue_features,
)
from plmdepth.probes.layerwise.ranking import LayerScores
from plmdepth.probes.layerwise.recipe import LinearRecipe
from plmdepth.proteins.datasets.deepfri import DeepfriDataset
from plmdepth.proteins.datasets.netsurfp import NetsurfpDataset
from plmdepth.proteins.protein import CANONICAL, Protein
from plmdepth.proteins.tasks.task import METRICS, NOT_SCORED, Kind, Labelled, Task
from plmdepth.randomness import keyed_generator
from plmdepth.results.record import read_record
from tests.probes.cells import CLASSES, cell_of, task_of

SIZES = {"train": 200, "valid": 60, "test": 300}
Label = Callable[[str, np.random.Generator], np.ndarray]


def written(kind: Kind, label: Label, classes: tuple[str, ...] = CLASSES, **sizes: int) -> Task:
    """Return a task of proteins half of which are rich in leucine, with labels from their sequences."""
    splits = {
        split: tuple(_labelled(label, f"{split}_{i}") for i in range(size))
        for split, size in ({**SIZES, **sizes}).items()
    }
    return Task("made_up", kind, classes, splits, METRICS[kind])


def _labelled(label: Label, name: str) -> Labelled:
    random = keyed_generator(0, "composition", name)
    pool = CANONICAL + "L" * (20 if random.random() < 0.5 else 0)
    sequence = "".join(random.choice(list(pool), random.integers(60, 90)))
    return Labelled(Protein(name, sequence), label(sequence, random))


def is_rich(sequence: str) -> bool:
    return sequence.count("L") > 0.25 * len(sequence)


def reached(found: Composition, metric: str, split: str = "test") -> float:
    return float(next(each for each in found.splits if each.name == split).scores[metric].value)


def measured(task: Task, n_replicates: int = 20) -> Composition:
    return measure_composition(task, 0, n_replicates)


def test_a_protein_is_the_fractions_of_its_letters_and_its_length() -> None:
    sequence = "ACCXUWY"
    expected = [sequence.count(letter) / 7 for letter in CANONICAL] + [2 / 7, np.log(7)]
    np.testing.assert_allclose(protein_features(Protein("a", sequence)), expected)


def test_a_residue_is_its_letter_beside_the_fractions_of_its_protein() -> None:
    sequence = "ACCXUWY"
    found = residue_features(Protein("a", sequence))
    assert found.shape == (7, 42)
    for row, letter in zip(found, sequence, strict=True):
        own = [float(letter == each) for each in CANONICAL] + [float(letter in "XU")]
        np.testing.assert_allclose(row, own + protein_features(Protein("a", sequence))[:-1].tolist())


def test_letters_are_counted_alphabetically() -> None:
    assert letters_of(Protein("a", CANONICAL + "BJOUXZ")).tolist() == [*range(20), *[20] * 6]


def test_a_label_that_follows_composition_is_read_without_an_error() -> None:
    found = measured(written("multiclass", lambda sequence, _: np.array(2 * is_rich(sequence))))
    assert reached(found, "accuracy") == 1.0  # the class in between never occurs
    assert reached(found, "mcc") == pytest.approx(1.0)


def test_terms_that_follow_composition_are_read_without_an_error() -> None:
    found = measured(
        written("multilabel", lambda sequence, _: np.array([is_rich(sequence), not is_rich(sequence), False]))
    )
    assert reached(found, "f1_max") == pytest.approx(1.0)
    assert reached(found, "auprc_micro") == pytest.approx(1.0)


def test_labels_of_residues_that_follow_their_letters_are_read_without_an_error() -> None:
    assert reached(measured(task_of("residue")), "accuracy") == 1.0


def test_labels_of_residues_that_follow_their_protein_are_read_without_an_error() -> None:
    found = measured(written("residue", lambda sequence, _: np.full(len(sequence), int(is_rich(sequence))), train=100))
    assert reached(found, "accuracy") == 1.0


def test_labels_that_have_nothing_to_do_with_sequences_are_guessed() -> None:
    def half(sequence: str, random: np.random.Generator) -> np.ndarray:
        return np.array(int(random.random() < 0.5))

    found = measured(written("multiclass", half, ("no", "yes")))
    assert reached(found, "accuracy") == pytest.approx(0.5, abs=0.09)  # 3 standard errors of 300 proteins
    assert reached(found, "mcc") == pytest.approx(0.0, abs=0.18)


def test_where_nothing_can_be_read_the_most_frequent_class_is_said() -> None:
    def rare(sequence: str, random: np.random.Generator) -> np.ndarray:
        return np.array(int(random.random() < 0.15))

    task = written("multiclass", rare, ("often", "rarely"))
    often = np.mean([each.label == 0 for each in task.splits["test"]])
    assert reached(measured(task), "accuracy") == pytest.approx(often)


def test_residues_without_a_label_are_neither_fitted_nor_scored() -> None:
    task = task_of("residue")
    hidden = {split: tuple(_hidden(each) for each in members) for split, members in task.splits.items()}
    assert reached(measured(replace(task, splits=hidden)), "accuracy") == 1.0


def _hidden(labelled: Labelled) -> Labelled:
    """Return a protein in which every other residue is not scored."""
    label = labelled.label.copy()
    label[::2] = NOT_SCORED
    return Labelled(labelled.protein, label)


def test_a_class_that_train_lacks_is_missed_and_breaks_nothing() -> None:
    task = written("multiclass", lambda sequence, _: np.array(int(is_rich(sequence))))
    strange = tuple(Labelled(each.protein, np.array(2)) for each in task.splits["valid"][:5])
    found = measured(replace(task, splits={**task.splits, "valid": (*strange, *task.splits["valid"][5:])}))
    assert reached(found, "accuracy") == 1.0
    assert reached(found, "accuracy", "valid") == pytest.approx(55 / 60)


def test_every_split_but_train_is_scored_by_every_score_of_the_task() -> None:
    for kind in ("multiclass", "multilabel", "residue"):
        found = measured(task_of(kind, train=30))
        assert [split.name for split in found.splits] == ["valid", "test"]
        for split in found.splits:
            assert set(split.scores) == set(METRICS[kind])
            for score in split.scores.values():
                assert [tuple(part.shape) for part in score] == [(1,), (1,), (1,), (1,), (20, 1)]


def test_the_same_task_gives_the_same_numbers() -> None:
    one, two = (measured(task_of("multilabel")).facts() for _ in range(2))
    assert one == two
    assert one["proteins"] == 200


def test_too_many_proteins_are_fitted_in_part_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composition, "_MOST_TARGETS", 300)
    task = written("multiclass", lambda sequence, _: np.array(int(is_rich(sequence))))
    assert (found := measured(task)).n_proteins == 100  # 300 / 3 classes
    assert found.facts() == measured(task).facts()
    chosen = [[each.protein.id for each in composition._fitted(task, seed)] for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert set(chosen[0]) <= {each.protein.id for each in task.splits["train"]}
    assert measured(task_of("residue")).n_proteins == 300 // (21 * 3)


def heads_like(found: Composition, better: float) -> LayerScores:
    """Return heads of three layers: the second reads what composition does, and ``better`` more in every replicate."""

    def three(part: torch.Tensor) -> torch.Tensor:
        return torch.cat([part - 0.2, part + better, part - 0.3], dim=-1)

    (split,) = (each for each in found.splits if each.name == "test")
    scores = {
        name: Estimate(*map(three, score[:3]), score.n.repeat(3), three(score.replicates))
        for name, score in split.scores.items()
    }
    return LayerScores("test", scores)


def test_a_layer_is_compared_with_composition_replicate_by_replicate() -> None:
    found = measured(task_of("multiclass"))
    answers = found.answers(heads_like(found, 0.125), "accuracy", layer=1)
    assert set(answers) == {"test_accuracy_composition", "test_accuracy_over_composition"}
    value, interval = answers["test_accuracy_composition"]
    assert value == reached(found, "accuracy")
    assert interval is not None
    assert interval["low"] < value < interval["high"]  # type: ignore[operator]
    gain, of_gain = answers["test_accuracy_over_composition"]
    assert gain == pytest.approx(0.125)
    assert of_gain == pytest.approx({"low": 0.125, "high": 0.125})  # what moves both moves no difference


def test_a_record_says_what_composition_reaches(tmp_path: Path) -> None:
    task = written("multiclass", lambda sequence, _: np.array(int(is_rich(sequence))), train=40, valid=20, test=20)
    run_cell(cell_of(task, tmp_path, LinearRecipe(epochs=1, n_replicates=20)), tmp_path / "run", "{}")
    result = read_record(tmp_path / "run").result
    scalars, intervals = result["scalars"], result["scalar_intervals"]
    for split in ("valid", "test"):
        assert scalars[f"{split}_accuracy_composition"] == 1.0
        assert intervals[f"{split}_accuracy_composition"] == pytest.approx({"low": 0.025 ** (1 / 20), "high": 1.0})
        gap = scalars[f"{split}_accuracy_best"] - 1.0
        assert scalars[f"{split}_accuracy_over_composition"] == pytest.approx(gap)
    assert result["composition"]["proteins"] == 40
    assert result["composition"]["scores"]["test"]["mcc"]["value"] == pytest.approx(1.0)


def test_composition_of_real_proteins_tells_some_of_their_structure_and_little_of_their_function(
    shared_data: Path,
) -> None:
    residues = NetsurfpDataset(name="mine", root=str(shared_data / "secondary_structure"), limit=300).load_task(
        10_000, seed=0
    )
    labels = np.concatenate([each.label for each in residues.splits["cb513"]])
    most = np.bincount(labels[labels != NOT_SCORED]).max() / (labels != NOT_SCORED).sum()
    assert most < reached(measured(residues), "accuracy", "cb513") < 0.6
    folder = str(shared_data / "ec_deepfri")
    enzymes = DeepfriDataset(name="ec", terms="ec", root=folder, limit=300).load_task(10_000, seed=0)
    assert 0 < reached(measured(enzymes), "f1_max") < 0.3
