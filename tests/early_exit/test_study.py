"""What leaving early costs, against loops, and which thresholds validation picks."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pandas as pd
import pytest
import torch
from torch import Tensor

from plmdepth.early_exit import study
from plmdepth.early_exit.confidence import ProteinConfidence, max_probability, mean_certainty
from plmdepth.early_exit.options import EarlyExitStudy
from plmdepth.early_exit.policy import FALLBACKS
from plmdepth.early_exit.study import Said, choices, exit_table
from plmdepth.metrics.accumulators import bootstrap_weights
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.tasks.task import Kind
from tests.scores.values import accuracy, f1_max, macro_accuracy, mcc

N_LAYERS, N_PROTEINS, N_CLASSES = 4, 25, 3


def said_of(kind: Kind, seed: int = 0, n_replicates: int = 40, share: float = 0.8) -> Said:
    generator = torch.Generator().manual_seed(seed)
    proteins = [Protein(f"p{i}", "MKTV" + "A" * i) for i in range(N_PROTEINS)]
    counts = torch.tensor([len(protein) if kind == "residue" else 1 for protein in proteins])
    n_rows = int(counts.sum())
    logits = 3 * torch.randn((N_LAYERS + 1, n_rows, N_CLASSES), generator=generator)
    rule = ProteinConfidence(max_probability, share if kind == "residue" else 1.0)
    if kind == "multilabel":
        labels = torch.rand((n_rows, N_CLASSES), generator=generator) < 0.5
        return Said(logits.sigmoid(), labels, counts, proteins, kind, rule, seed, n_replicates)
    labels = torch.randint(-1 if kind == "residue" else 0, N_CLASSES, (n_rows,), generator=generator)
    return Said(logits.softmax(-1), labels, counts, proteins, kind, rule, seed, n_replicates)


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


THRESHOLDS = torch.tensor([0.0, 0.9, 0.97, 0.98, 0.99, 2.0], dtype=torch.float64)


def residues_left_naively(said: Said, threshold: float, fallback: str, share: Fraction) -> list[tuple[int, int]]:
    """Return the layer whose prediction each protein takes, and how many are run, by counting sure residues."""
    found, start = [], 0
    for n in said.counts.tolist():
        certainty = said.probabilities[:, start : start + n].amax(-1)
        sure = [
            layer
            for layer in range(1, N_LAYERS + 1)
            if Fraction(sum(each >= threshold for each in certainty[layer].tolist()), n) >= share
        ]
        needed = next(k for k in range(1, n + 1) if Fraction(k, n) >= share)
        reached = [sorted(certainty[layer].tolist())[-needed] for layer in range(1, N_LAYERS + 1)]
        never = N_LAYERS if fallback == "last" else 1 + reached.index(max(reached))
        found.append((sure[0], sure[0]) if sure else (never, N_LAYERS))
        start += n
    return found


@pytest.mark.parametrize("metric", ["accuracy", "macro_accuracy", "mcc"])
def test_proteins_leave_by_all_residues_and_are_scored_on_those_with_a_label(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "_TOGETHER", 7)  # scored in several pieces
    said = said_of("residue", share=0.3)
    score = {"accuracy": accuracy, "macro_accuracy": macro_accuracy, "mcc": mcc}[metric]
    last = score(said.probabilities[-1:], said.labels).item()
    different = set()
    for row in exit_table(said, THRESHOLDS, metric).to_dict("records"):
        left = residues_left_naively(said, row["threshold"], row["fallback"], Fraction("0.3"))
        parts = said.probabilities.split(said.counts.tolist(), dim=1)
        taken = torch.cat([part[layer] for part, (layer, _) in zip(parts, left, strict=True)])
        assert row["layers"] == pytest.approx(sum(computed for _, computed in left) / N_PROTEINS)
        assert row[metric] == pytest.approx(score(taken[None], said.labels).item())
        assert row["difference_to_last"] == pytest.approx(row[metric] - last)
        assert row[f"{metric}_low"] <= row[metric] <= row[f"{metric}_high"]
        different.add(row["layers"])
    assert len(different) > 3


def test_a_residue_without_a_label_decides_who_leaves_and_is_not_scored() -> None:
    said = said_of("residue", share=1.0)
    probabilities, labels = said.probabilities.clone(), said.labels.clone()
    probabilities[:, :4] = torch.tensor([0.98, 0.01, 0.01])  # the first protein
    labels[:4] = 0
    sure = replace(said, probabilities=probabilities, labels=labels)
    probabilities = probabilities.clone()
    probabilities[1:3, 3] = 1 / 3
    labels = labels.clone()
    labels[3] = -1
    unsure = replace(said, probabilities=probabilities, labels=labels)
    assert sure.confidence[1:, 0].tolist() == pytest.approx([0.98] * 4)
    assert unsure.confidence[1:, 0].tolist() == pytest.approx([1 / 3, 1 / 3, 0.98, 0.98])
    without = replace(said, labels=torch.where(torch.arange(len(labels)) < 4, said.labels, -1))
    assert without.scores(without.single_layers)["accuracy"].value.tolist() == pytest.approx(
        accuracy(said.probabilities[:, :4], said.labels[:4]).tolist()
    )


def test_the_intervals_of_residues_are_over_proteins() -> None:
    said = said_of("residue", n_replicates=400)
    found = said.scores(said.single_layers)["accuracy"]
    weights, labels = bootstrap_weights(said.proteins, 0, 400), said.labels
    protein = torch.arange(N_PROTEINS).repeat_interleave(said.counts)
    right = ((said.probabilities.argmax(-1) == labels) & (labels >= 0)).double()
    copies = weights[:, protein] * (labels >= 0)
    wanted = copies @ right.T / copies.sum(1, keepdim=True)
    torch.testing.assert_close(found.replicates, wanted)
    assert (found.n == N_PROTEINS).all()


@pytest.mark.parametrize("at_once", [1, 2**24])
def test_the_selective_risk_of_residues_equals_a_loop(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "_CELLS", at_once)
    said = said_of("residue", n_replicates=3)
    found = said.selective()
    protein = torch.arange(N_PROTEINS).repeat_interleave(said.counts)
    weights = torch.cat([torch.ones(1, N_PROTEINS), bootstrap_weights(said.proteins, 0, 3)])
    scored = (said.labels >= 0).nonzero()[:, 0].tolist()
    for layer in (0, 3):
        sure = said.probabilities[layer].amax(-1).tolist()
        wrong = (said.probabilities[layer].argmax(-1) != said.labels).double().tolist()
        for row, copies in enumerate(weights[:, protein].tolist()):
            total = sum(copies[i] for i in scored)
            area = 0.0
            for i in scored:
                kept = [j for j in scored if sure[j] >= sure[i]]
                covered = sum(copies[j] for j in kept)
                area += copies[i] * sum(copies[j] * wrong[j] for j in kept) / covered if covered else 0.0
            value = found["aurc"].value if row == 0 else found["aurc"].replicates[row - 1]
            assert value[layer].item() == pytest.approx(area / total)


def saturated(seed: int = 0) -> Said:
    """Return terms of which the first is always sure; the others are right and sure from a layer on that varies."""
    said = said_of("multilabel", seed)
    labels = said.labels.clone()
    labels[:, 0] = True
    first = torch.arange(N_PROTEINS) % N_LAYERS + 1
    known = torch.arange(N_LAYERS + 1)[:, None] >= first
    probabilities = torch.where(known[..., None], 0.01 + 0.98 * labels, 0.55 - 0.1 * labels)
    probabilities[..., 0] = 1.0
    return replace(said, probabilities=probabilities.float(), labels=labels)


def test_mean_certainty_still_tells_proteins_apart_where_the_likeliest_term_is_always_sure() -> None:
    said = saturated()
    assert (said.confidence == 1).all()
    blind = choices(exit_table(said, EarlyExitStudy().grid(said.confidence), "f1_max"), "f1_max")
    assert blind.iloc[0].tolist() == ["no_loss", "last", 2.0]  # leaving at once loses, so nobody leaves
    seeing = replace(said, rule=ProteinConfidence(mean_certainty))
    table = exit_table(seeing, EarlyExitStudy().grid(seeing.confidence), "f1_max")
    row = choices(table, "f1_max").merge(table, on=["fallback", "threshold"]).iloc[0]
    first = torch.arange(N_PROTEINS) % N_LAYERS + 1
    assert (row["goal"], row["fallback"]) == ("no_loss", "last")
    assert row["layers"] == pytest.approx(first.double().mean().item())
    assert row["difference_to_last"] == 0
    assert row["f1_max"] == 1
