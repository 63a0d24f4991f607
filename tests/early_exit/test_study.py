"""What leaving early costs, against loops; which thresholds validation picks; seconds, with a clock counting rows."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pandas as pd
import pytest
import torch
from torch import Tensor

from plmdepth.early_exit import study
from plmdepth.early_exit.options import EarlyExitStudy
from plmdepth.early_exit.policy import FALLBACKS, ProteinConfidence, max_probability, mean_certainty
from plmdepth.early_exit.study import HeadOutputs, choices, exit_table, time_over_layers, wall_times
from plmdepth.language_models.layer_stack import LayerCall, LayerStack
from plmdepth.metrics.accumulators import bootstrap_weights
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.tasks.task import Kind
from tests.early_exit.test_inference import MANY, between, early_exit, heads_for, probabilities_of
from tests.scores.values import accuracy, f1_max, macro_accuracy, mcc
from tests.stacks import stack_of

N_LAYERS, N_PROTEINS, N_CLASSES = 4, 25, 3


def outputs_of(kind: Kind, seed: int = 0, n_replicates: int = 40, share: float = 0.8) -> HeadOutputs:
    generator = torch.Generator().manual_seed(seed)
    proteins = [Protein(f"p{i}", "MKTV" + "A" * i) for i in range(N_PROTEINS)]
    counts = torch.tensor([len(protein) if kind == "residue" else 1 for protein in proteins])
    n_rows = int(counts.sum())
    logits = 3 * torch.randn((N_LAYERS + 1, n_rows, N_CLASSES), generator=generator)
    rule = ProteinConfidence(max_probability, share if kind == "residue" else 1.0)
    if kind == "multilabel":
        labels = torch.rand((n_rows, N_CLASSES), generator=generator) < 0.5
        return HeadOutputs(logits.sigmoid(), labels, counts, proteins, kind, rule, seed, n_replicates)
    labels = torch.randint(-1 if kind == "residue" else 0, N_CLASSES, (n_rows,), generator=generator)
    return HeadOutputs(logits.softmax(-1), labels, counts, proteins, kind, rule, seed, n_replicates)


def left_naively(probabilities: Tensor, protein: int, threshold: float, fallback: str) -> tuple[int, int]:
    """Return the layer whose prediction is taken, and how many are run."""
    sure = [probabilities[layer, protein].max().item() for layer in range(1, N_LAYERS + 1)]
    for layer, confidence in enumerate(sure, start=1):
        if confidence >= threshold:
            return layer, layer
    return (N_LAYERS if fallback == "last" else 1 + sure.index(max(sure))), N_LAYERS


def score_naively(outputs: HeadOutputs, predictions: Sequence[Tensor]) -> float:
    if outputs.kind == "multilabel":
        return f1_max(torch.stack(list(predictions))[None], outputs.labels).item()
    right = [int(p.argmax()) == int(label) for p, label in zip(predictions, outputs.labels, strict=True)]
    return sum(right) / len(right)


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_the_table_equals_a_loop_over_proteins(kind: Kind) -> None:
    outputs = outputs_of(kind)
    metric = "f1_max" if kind == "multilabel" else "accuracy"
    thresholds = torch.tensor([0.0, 0.5, 0.8, 0.95, 2.0], dtype=torch.float64)
    table = exit_table(outputs, thresholds, metric)
    last = score_naively(outputs, list(outputs.probabilities[-1]))
    assert len(table) == len(FALLBACKS) * len(thresholds)
    for row in table.to_dict("records"):
        left = [left_naively(outputs.probabilities, i, row["threshold"], row["fallback"]) for i in range(N_PROTEINS)]
        taken = [outputs.probabilities[layer, i] for i, (layer, _) in enumerate(left)]
        assert row["layers"] == pytest.approx(sum(computed for _, computed in left) / N_PROTEINS)
        assert row["share"] == pytest.approx(row["layers"] / N_LAYERS)
        assert row[metric] == pytest.approx(score_naively(outputs, taken))
        assert row["difference_to_last"] == pytest.approx(row[metric] - last)
        assert row[f"{metric}_low"] <= row[metric] <= row[f"{metric}_high"]


def test_without_an_exit_there_is_no_difference_and_no_doubt_about_it() -> None:
    table = exit_table(outputs_of("multiclass"), torch.tensor([2.0], dtype=torch.float64), "accuracy")
    row = table[table["fallback"] == "last"].iloc[0]
    assert row[["difference_to_last", "difference_to_last_low", "difference_to_last_high"]].tolist() == [0, 0, 0]
    assert row["layers"] == N_LAYERS


def test_the_differences_are_paired_and_not_of_two_intervals() -> None:
    table = exit_table(outputs_of("multiclass"), torch.tensor([0.97], dtype=torch.float64), "accuracy")
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
    confidence = outputs_of("multiclass").confidence
    grid = EarlyExitStudy(thresholds=12).grid(confidence)
    assert (grid.diff() > 0).all()
    assert len(grid) == 12
    assert grid[0] == pytest.approx(confidence[1:].min().item())
    assert grid[-2] == pytest.approx(confidence[1:].max().item())
    assert grid[-1] > 1


def test_the_selective_risk_of_a_single_label_equals_a_loop() -> None:
    outputs = outputs_of("multiclass")
    found = outputs.selective()
    assert set(found) == {"aurc", "excess_aurc"}
    for layer in range(N_LAYERS + 1):
        sure = outputs.probabilities[layer].amax(-1).tolist()
        wrong = (outputs.probabilities[layer].argmax(-1) != outputs.labels).double().tolist()
        risks = []
        for mine in sure:
            kept = [loss for other, loss in zip(sure, wrong, strict=True) if other >= mine]
            risks.append(sum(kept) / len(kept))
        assert found["aurc"].value[layer].item() == pytest.approx(sum(risks) / len(risks))
        assert 0 <= found["excess_aurc"].value[layer] <= found["aurc"].value[layer]


THRESHOLDS = torch.tensor([0.0, 0.9, 0.97, 0.98, 0.99, 2.0], dtype=torch.float64)


def residues_left_naively(
    outputs: HeadOutputs, threshold: float, fallback: str, share: Fraction
) -> list[tuple[int, int]]:
    """Return the layer whose prediction each protein takes, and how many are run, by counting sure residues."""
    found, start = [], 0
    for n in outputs.counts.tolist():
        certainty = outputs.probabilities[:, start : start + n].amax(-1)
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
    monkeypatch.setattr(study, "_SCORED_AT_ONCE", 7)  # scored in several pieces
    outputs = outputs_of("residue", share=0.3)
    score = {"accuracy": accuracy, "macro_accuracy": macro_accuracy, "mcc": mcc}[metric]
    last = score(outputs.probabilities[-1:], outputs.labels).item()
    different = set()
    for row in exit_table(outputs, THRESHOLDS, metric).to_dict("records"):
        left = residues_left_naively(outputs, row["threshold"], row["fallback"], Fraction("0.3"))
        parts = outputs.probabilities.split(outputs.counts.tolist(), dim=1)
        taken = torch.cat([part[layer] for part, (layer, _) in zip(parts, left, strict=True)])
        assert row["layers"] == pytest.approx(sum(computed for _, computed in left) / N_PROTEINS)
        assert row[metric] == pytest.approx(score(taken[None], outputs.labels).item())
        assert row["difference_to_last"] == pytest.approx(row[metric] - last)
        assert row[f"{metric}_low"] <= row[metric] <= row[f"{metric}_high"]
        different.add(row["layers"])
    assert len(different) > 3


def test_a_residue_without_a_label_decides_who_leaves_and_is_not_scored() -> None:
    outputs = outputs_of("residue", share=1.0)
    probabilities, labels = outputs.probabilities.clone(), outputs.labels.clone()
    probabilities[:, :4] = torch.tensor([0.98, 0.01, 0.01])  # the first protein
    labels[:4] = 0
    sure = replace(outputs, probabilities=probabilities, labels=labels)
    probabilities = probabilities.clone()
    probabilities[1:3, 3] = 1 / 3
    labels = labels.clone()
    labels[3] = -1
    unsure = replace(outputs, probabilities=probabilities, labels=labels)
    assert sure.confidence[1:, 0].tolist() == pytest.approx([0.98] * 4)
    assert unsure.confidence[1:, 0].tolist() == pytest.approx([1 / 3, 1 / 3, 0.98, 0.98])
    without = replace(outputs, labels=torch.where(torch.arange(len(labels)) < 4, outputs.labels, -1))
    assert without.scores(without.single_layers)["accuracy"].value.tolist() == pytest.approx(
        accuracy(outputs.probabilities[:, :4], outputs.labels[:4]).tolist()
    )


def test_the_intervals_of_residues_are_over_proteins() -> None:
    outputs = outputs_of("residue", n_replicates=400)
    found = outputs.scores(outputs.single_layers)["accuracy"]
    weights, labels = bootstrap_weights(outputs.proteins, 0, 400), outputs.labels
    protein = torch.arange(N_PROTEINS).repeat_interleave(outputs.counts)
    right = ((outputs.probabilities.argmax(-1) == labels) & (labels >= 0)).double()
    copies = weights[:, protein] * (labels >= 0)
    wanted = copies @ right.T / copies.sum(1, keepdim=True)
    torch.testing.assert_close(found.replicates, wanted)
    assert (found.n == N_PROTEINS).all()


@pytest.mark.parametrize("at_once", [1, 2**24])
def test_the_selective_risk_of_residues_equals_a_loop(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "_RANKED_AT_ONCE", at_once)
    outputs = outputs_of("residue", n_replicates=3)
    found = outputs.selective()
    protein = torch.arange(N_PROTEINS).repeat_interleave(outputs.counts)
    weights = torch.cat([torch.ones(1, N_PROTEINS), bootstrap_weights(outputs.proteins, 0, 3)])
    scored = (outputs.labels >= 0).nonzero()[:, 0].tolist()
    for layer in (0, 3):
        sure = outputs.probabilities[layer].amax(-1).tolist()
        wrong = (outputs.probabilities[layer].argmax(-1) != outputs.labels).double().tolist()
        for row, copies in enumerate(weights[:, protein].tolist()):
            total = sum(copies[i] for i in scored)
            area = 0.0
            for i in scored:
                kept = [j for j in scored if sure[j] >= sure[i]]
                covered = sum(copies[j] for j in kept)
                area += copies[i] * sum(copies[j] * wrong[j] for j in kept) / covered if covered else 0.0
            value = found["aurc"].value if row == 0 else found["aurc"].replicates[row - 1]
            assert value[layer].item() == pytest.approx(area / total)


def saturated(seed: int = 0) -> HeadOutputs:
    """Return terms of which the first is always sure; the others are right and sure from a layer on that varies."""
    outputs = outputs_of("multilabel", seed)
    labels = outputs.labels.clone()
    labels[:, 0] = True
    first = torch.arange(N_PROTEINS) % N_LAYERS + 1
    known = torch.arange(N_LAYERS + 1)[:, None] >= first
    probabilities = torch.where(known[..., None], 0.01 + 0.98 * labels, 0.55 - 0.1 * labels)
    probabilities[..., 0] = 1.0
    return replace(outputs, probabilities=probabilities.float(), labels=labels)


def test_mean_certainty_still_tells_proteins_apart_where_the_likeliest_term_is_always_sure() -> None:
    outputs = saturated()
    assert (outputs.confidence == 1).all()
    blind = choices(exit_table(outputs, EarlyExitStudy().grid(outputs.confidence), "f1_max"), "f1_max")
    assert blind.iloc[0].tolist() == ["no_loss", "last", 2.0]  # leaving at once loses, so nobody leaves
    seeing = replace(outputs, rule=ProteinConfidence(mean_certainty))
    table = exit_table(seeing, EarlyExitStudy().grid(seeing.confidence), "f1_max")
    row = choices(table, "f1_max").merge(table, on=["fallback", "threshold"]).iloc[0]
    first = torch.arange(N_PROTEINS) % N_LAYERS + 1
    assert (row["goal"], row["fallback"]) == ("no_loss", "last")
    assert row["layers"] == pytest.approx(first.double().mean().item())
    assert row["difference_to_last"] == 0
    assert row["f1_max"] == 1


class Clock:
    """Moves by one for every row of every layer, and not otherwise."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now, self.seconds_a_row = 0.0, 1.0
        original = LayerStack.apply_layer

        def apply_layer(stack: LayerStack, layer: int, state: Tensor, call: LayerCall) -> Tensor:
            self.now += len(state) * self.seconds_a_row
            return original(stack, layer, state, call)

        patch.setattr(LayerStack, "apply_layer", apply_layer)
        patch.setattr(time, "perf_counter", lambda: self.now)


def test_seconds_are_those_of_the_layers_that_were_run(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of("esm2")
    heads = heads_for(stack)
    middle = between(probabilities_of(stack, heads).amax(-1)[1:])
    Clock(monkeypatch)
    early = early_exit(stack, heads, 0.0, "last")
    table = wall_times(early, MANY, [0.0, middle, 2.0], 10_000, rounds=2)
    assert table["threshold"].tolist() == [0.0, middle, 2.0]
    assert table["layers"].iloc[[0, 2]].tolist() == [1.0, 6.0]
    assert 1 < table["layers"][1] < 6
    assert (table["full_seconds"] == 6 * len(MANY)).all()
    assert table["seconds"].tolist() == pytest.approx((table["layers"] * len(MANY)).tolist())
    assert table["time_share"].tolist() == pytest.approx(table["layer_share"].tolist())
    assert time_over_layers(table) == pytest.approx({"slope": 1.0, "intercept": 0.0, "r_squared": 1.0})


def test_the_first_round_only_warms_up_and_the_median_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of("esm2")
    clock, early = Clock(monkeypatch), early_exit(stack, heads_for(stack), 0.0, "last")
    speeds, embed = iter([100, 1, 7, 1]), LayerStack.embed  # of the warm-up and of three rounds

    def embed_at(stack: LayerStack, tokens: object) -> object:
        clock.calls = getattr(clock, "calls", 0) + 1  # type: ignore[attr-defined]
        if clock.calls % 2:  # type: ignore[attr-defined]
            clock.seconds_a_row = next(speeds)
        return embed(stack, tokens)  # type: ignore[arg-type]

    monkeypatch.setattr(LayerStack, "embed", embed_at)
    table = wall_times(early, MANY[:1], [2.0], 10_000, rounds=3)
    assert table["seconds"].tolist() == [6.0]


def test_the_relation_is_a_straight_line_through_the_shares() -> None:
    table = pd.DataFrame({"layer_share": [0.2, 0.5, 1.0], "time_share": [0.3, 0.6, 1.1]})
    assert time_over_layers(table) == pytest.approx({"slope": 1.0, "intercept": 0.1, "r_squared": 1.0})
    table["time_share"] = [0.5, 0.4, 1.1]
    x, y = (torch.tensor(table[name].to_numpy()) for name in ("layer_share", "time_share"))
    pearson = torch.corrcoef(torch.stack([x, y]))[0, 1].item()
    assert time_over_layers(table)["r_squared"] == pytest.approx(pearson**2)


@pytest.mark.parametrize("shares", [[], [0.5], [0.2, 1.0], [0.5, 0.5, 0.5, 1.0]])
def test_two_points_make_no_relation(shares: list[float]) -> None:
    found = time_over_layers(pd.DataFrame({"layer_share": shares, "time_share": shares}))
    assert set(found) == {"slope", "intercept", "r_squared"}
    assert all(math.isnan(value) for value in found.values())
