"""What leaving early costs, against loops, and which thresholds validation picks."""

from collections.abc import Sequence

import pandas as pd
import pytest
import torch
from torch import Tensor

from plmdepth.probes.exits.options import EarlyExitStudy
from plmdepth.probes.exits.policy import FALLBACKS
from plmdepth.probes.exits.study import Said, choices, exit_table
from plmdepth.probes.scores.f1_max import f1_max
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.tasks.task import Kind

N_LAYERS, N_PROTEINS, N_CLASSES = 4, 25, 3


def said_of(kind: Kind, seed: int = 0, n_replicates: int = 40) -> Said:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn((N_LAYERS + 1, N_PROTEINS, N_CLASSES), generator=generator)
    proteins = [Protein(f"p{i}", "MKTV" + "A" * i) for i in range(N_PROTEINS)]
    if kind == "multilabel":
        labels = torch.rand((N_PROTEINS, N_CLASSES), generator=generator) < 0.5
        return Said(logits.sigmoid(), labels, proteins, kind, seed, n_replicates)
    labels = torch.randint(N_CLASSES, (N_PROTEINS,), generator=generator)
    return Said(logits.softmax(-1), labels, proteins, kind, seed, n_replicates)


def left_naively(probabilities: Tensor, protein: int, threshold: float, fallback: str) -> tuple[int, int]:
    """Return the layer whose prediction is taken, and how many are run."""
    sure = [probabilities[layer, protein].max().item() for layer in range(1, N_LAYERS + 1)]
    for layer, confidence in enumerate(sure, start=1):
        if confidence >= threshold:
            return layer, layer
    return (N_LAYERS if fallback == "last" else 1 + sure.index(max(sure))), N_LAYERS


def score_naively(said: Said, predictions: Sequence[Tensor]) -> float:
    if said.kind == "multilabel":
        return f1_max(torch.stack(list(predictions))[None], said.labels).item()
    right = [int(p.argmax()) == int(label) for p, label in zip(predictions, said.labels, strict=True)]
    return sum(right) / len(right)


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_the_table_equals_a_loop_over_proteins(kind: Kind) -> None:
    said = said_of(kind)
    metric = "f1_max" if kind == "multilabel" else "accuracy"
    thresholds = torch.tensor([0.0, 0.5, 0.8, 0.95, 2.0], dtype=torch.float64)
    table = exit_table(said, thresholds, metric)
    last = score_naively(said, list(said.probabilities[-1]))
    assert len(table) == len(FALLBACKS) * len(thresholds)
    for row in table.to_dict("records"):
        left = [left_naively(said.probabilities, i, row["threshold"], row["fallback"]) for i in range(N_PROTEINS)]
        taken = [said.probabilities[layer, i] for i, (layer, _) in enumerate(left)]
        assert row["layers"] == pytest.approx(sum(computed for _, computed in left) / N_PROTEINS)
        assert row["share"] == pytest.approx(row["layers"] / N_LAYERS)
        assert row[metric] == pytest.approx(score_naively(said, taken))
        assert row["difference_to_last"] == pytest.approx(row[metric] - last)
        assert row[f"{metric}_low"] <= row[metric] <= row[f"{metric}_high"]


def test_without_an_exit_there_is_no_difference_and_no_doubt_about_it() -> None:
    table = exit_table(said_of("multiclass"), torch.tensor([2.0], dtype=torch.float64), "accuracy")
    row = table[table["fallback"] == "last"].iloc[0]
    assert row[["difference_to_last", "difference_to_last_low", "difference_to_last_high"]].tolist() == [0, 0, 0]
    assert row["layers"] == N_LAYERS


def test_the_differences_are_paired_and_not_of_two_intervals() -> None:
    table = exit_table(said_of("multiclass"), torch.tensor([0.97], dtype=torch.float64), "accuracy")
    row = table.iloc[0]
    paired = row["difference_to_last_high"] - row["difference_to_last_low"]
    assert 0 < paired < 2 * (row["accuracy_high"] - row["accuracy_low"])


def on_validation(rows: Sequence[tuple[str, float, float, float, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["fallback", "threshold", "layers", "accuracy", "difference_to_last"])


def test_no_loss_is_the_cheapest_that_is_as_good_as_the_last_layer_and_best_the_best() -> None:
    table = on_validation(
        [
            *(("last", 0.5, 1.0, 0.70, -0.10), ("last", 0.7, 2.0, 0.80, 0.00), ("last", 0.9, 3.0, 0.85, 0.05)),
            *(("last", 0.95, 3.5, 0.85, 0.05), ("last", 2.0, 4.0, 0.80, 0.00)),
            *(("most_confident", 0.5, 1.0, 0.70, -0.10), ("most_confident", 2.0, 4.0, 0.75, -0.05)),
        ]
    )
    picked = choices(table, "accuracy")
    assert picked.to_numpy().tolist() == [
        ["no_loss", "last", 0.7],
        ["best", "last", 0.9],
        ["best", "most_confident", 2.0],  # nothing keeps the last layer's score
    ]


def test_the_grid_runs_over_the_confidences_of_validation_and_ends_above_all() -> None:
    confidence = said_of("multiclass").confidence
    grid = EarlyExitStudy(thresholds=12).grid(confidence)
    assert (grid.diff() > 0).all()
    assert len(grid) == 12
    assert grid[0] == pytest.approx(confidence[1:].min().item())
    assert grid[-2] == pytest.approx(confidence[1:].max().item())
    assert grid[-1] > 1


def test_the_selective_risk_of_a_single_label_equals_a_loop() -> None:
    said = said_of("multiclass")
    found = said.selective()
    assert set(found) == {"aurc", "excess_aurc"}
    for layer in range(N_LAYERS + 1):
        sure = said.probabilities[layer].amax(-1).tolist()
        wrong = (said.probabilities[layer].argmax(-1) != said.labels).double().tolist()
        risks = []
        for mine in sure:
            kept = [loss for other, loss in zip(sure, wrong, strict=True) if other >= mine]
            risks.append(sum(kept) / len(kept))
        assert found["aurc"].value[layer].item() == pytest.approx(sum(risks) / len(risks))
        assert 0 <= found["excess_aurc"].value[layer] <= found["aurc"].value[layer]
