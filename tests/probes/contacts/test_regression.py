"""Regressions: the minimum of what they should minimise, and the separation alone against its table of rates."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.optimize import minimize

from plmdepth.probes.contacts.regression import LayerRegressions, fitted, fitted_to_separation


def loss(parameters: np.ndarray, features: np.ndarray, contact: np.ndarray, c: float) -> float:
    logits = features @ parameters[:-1] + parameters[-1]
    return float(np.abs(parameters).sum() + c * np.logaddexp(0, np.where(contact, -logits, logits)).sum())


def example(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(n, 3))
    contact = generator.random(n) < 1 / (1 + np.exp(2 - 1.5 * features[:, 0] + features[:, 1]))
    return features, contact


def test_the_fit_is_the_least_of_penalty_and_loss_and_leaves_useless_features_out() -> None:
    features, contact = example()
    found = fitted(features, contact, 0.15, seed=0)
    ours = loss(np.append(found.weight, found.bias), features, contact, 0.15)
    best = min(
        minimize(loss, np.full(4, start), (features, contact, 0.15), method="Powell").fun for start in (0.1, -0.1, 1.0)
    )
    assert ours == pytest.approx(best, rel=1e-3)
    assert found.converged
    assert found.weight[0] > 0 > found.weight[1]
    assert found.weight[2] == 0.0


def test_rows_that_count_several_times_are_as_good_as_so_many_rows() -> None:
    features, contact = example(100)
    counts = np.random.default_rng(1).integers(0, 5, 100)
    once = fitted(features, contact, 0.15, 0, counts)
    repeated = fitted(features.repeat(counts, axis=0), contact.repeat(counts), 0.15, 0)
    assert once.weight == pytest.approx(repeated.weight, abs=0.01)
    assert once.bias == pytest.approx(repeated.bias, abs=0.01)


def test_the_separation_alone_finds_the_separations_at_which_residues_touch() -> None:
    generator = np.random.default_rng(0)
    separation = generator.integers(6, 40, 20000)
    contact = generator.random(20000) < np.where(separation == 24, 0.5, 0.02)
    baseline = fitted_to_separation(separation, contact, 0.15, 0)
    logits = baseline.logits(torch.arange(6, 80))
    assert int(logits.argmax()) == 24 - 6
    assert len(baseline.regression.weight) == 34
    assert logits[34:].tolist() == pytest.approx([baseline.regression.bias] * 40)  # never seen
    rows = np.eye(34)[separation - 6]
    assert baseline.regression.weight == pytest.approx(fitted(rows, contact, 0.15, 0).weight, abs=0.02)


def test_what_was_fitted_is_written_by_name(tmp_path: Path) -> None:
    alone = fitted_to_separation(np.array([6, 6, 7, 8]), np.array([True, False, True, False]), 1.0, 0)
    weight = torch.zeros(2, 2, 3, dtype=torch.float64)
    weight[1, 1, 0] = 2.0
    found = LayerRegressions(weight, torch.tensor([0.0, 1.0], dtype=torch.float64), alone, ())
    assert found.weightless == (1,)
    found.write(tmp_path / "regressions.safetensors")
    read = load_file(tmp_path / "regressions.safetensors")
    assert read.keys() == {"weight", "bias", "separation_weight", "separation_bias"}
    assert torch.equal(read["weight"], weight)
    assert read["separation_weight"].tolist() == alone.regression.weight.tolist()
