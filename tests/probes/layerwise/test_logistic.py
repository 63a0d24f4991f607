"""The regression against an optimiser of its own, loops and cases that are known in closed form."""

from typing import Any

import numpy as np
import pytest
import torch

from plmdepth.probes.layerwise import logistic
from plmdepth.probes.layerwise.logistic import Fit, Rows, fit_logistic

GROUPS = [[0, 0, 0, 1], [0, 1, 1, 1]]  # labels of the items at x = -1 and of those at x = 1


def items(n: int = 40, n_features: int = 3, n_classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return features of unlike scale, and noisy labels that follow them."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(n, n_features)) * [1.0, 0.01, 5.0][:n_features] + [0.0, 0.3, 7.0][:n_features]
    shown = (features - features.mean(0)) / features.std(0)
    noisy = shown @ random.normal(size=(n_features, n_classes)) + 2 * random.gumbel(size=(n, n_classes))
    return features, noisy.argmax(1)


def rows_of(features: np.ndarray, targets: np.ndarray) -> Rows:
    return Rows(torch.from_numpy(features), torch.from_numpy(targets.astype(np.float64)))


def one_of(features: np.ndarray, labels: np.ndarray, n_classes: int = 3) -> Rows:
    return rows_of(features, np.eye(n_classes)[labels])


def at_strength(
    monkeypatch: pytest.MonkeyPatch, strength: float, train: Rows, valid: Rows | None = None, independent: bool = False
) -> Fit:
    monkeypatch.setattr(logistic, "STRENGTHS", (strength,))
    return fit_logistic(train, valid or train, independent=independent)


def naive_loss(
    parameters: np.ndarray, features: np.ndarray, targets: np.ndarray, strength: float, several: bool
) -> Any:
    """Return the loss that the module's docstring states, item by item and class by class."""
    weights = parameters.reshape(targets.shape[1], -1)
    total = 0.0
    for x, t in zip((features - features.mean(0)) / features.std(0), targets, strict=True):
        z = [w[:-1] @ x + w[-1] for w in weights]
        shares = [np.exp(each) for each in z]
        partition = sum(np.log(1 + each) for each in shares) if several else np.log(sum(shares))
        total += partition - sum(each for each, true in zip(z, t, strict=True) if true)
    return total / len(features) + strength / 2 * sum(w**2 for row in weights for w in row[:-1])


@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize("strength", [0.1, 0.003])
def test_predictions_are_those_of_another_optimiser(
    strength: float, independent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    features, labels = items()
    targets = np.eye(3)[labels]
    if independent:
        targets[:, 2] = np.maximum(targets[:, 2], targets[:, 0])  # two classes may be true at once
    start = np.zeros(targets.shape[1] * 4)
    found = optimize.minimize(naive_loss, start, (features, targets, strength, independent), method="BFGS")
    weights = found.x.reshape(-1, 4)
    expected = (features - features.mean(0)) / features.std(0) @ weights[:, :-1].T + weights[:, -1]
    fit = at_strength(monkeypatch, strength, rows_of(features, targets), independent=independent)
    logits = fit.head(torch.from_numpy(features)).numpy()
    if not independent:  # the same may be added to all classes
        expected, logits = (each - each.mean(1, keepdims=True) for each in (expected, logits))
    np.testing.assert_allclose(logits, expected, atol=1e-3)


@pytest.mark.parametrize("independent", [False, True])
def test_without_a_penalty_one_balanced_feature_gives_the_frequencies(
    independent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = np.repeat([[-1.0], [1.0]], 4, axis=0)
    targets = np.eye(2)[np.concatenate(GROUPS)]
    fit = at_strength(monkeypatch, 1e-12, rows_of(features, targets), independent=independent)
    logits = fit.head(torch.tensor([[-1.0], [1.0]]).double())
    shares = logits.sigmoid() if independent else logits.softmax(1)
    torch.testing.assert_close(shares, torch.tensor([[0.75, 0.25], [0.25, 0.75]]).double(), rtol=0, atol=1e-5)


def test_a_penalty_draws_the_weight_to_where_it_equals_the_pull_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = np.repeat([[-1.0], [1.0]], 4, axis=0), np.concatenate(GROUPS)[:, None]
    fit = at_strength(monkeypatch, 0.1, rows_of(features, targets), independent=True)
    weight = float(fit.head.weight)
    assert 0.1 * weight == pytest.approx(0.75 - 1 / (1 + np.exp(-weight)), abs=1e-6)
    assert float(fit.head.bias) == pytest.approx(0.0, abs=1e-6)


def test_a_very_strong_penalty_leaves_how_often_each_class_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = items()
    fit = at_strength(monkeypatch, 1e6, one_of(features, labels))
    shares = fit.head(torch.from_numpy(features)).softmax(1)
    np.testing.assert_allclose(shares, np.tile(np.bincount(labels) / len(labels), (len(labels), 1)), atol=1e-4)


def test_items_that_share_a_row_count_as_often_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = items(12)
    twice = np.concatenate([features, features[:5]]), np.concatenate([labels, (labels[:5] + 1) % 3])
    shared = np.eye(3)[labels]
    shared[:5] += np.eye(3)[(labels[:5] + 1) % 3]
    apart = at_strength(monkeypatch, 0.01, one_of(*twice)).head
    together = at_strength(monkeypatch, 0.01, rows_of(features, shared)).head
    torch.testing.assert_close(apart.weight, together.weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("independent", [False, True])
def test_how_many_rows_are_read_at_once_changes_nothing(independent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit_logistic(one_of(*items()), one_of(*items(seed=1)), independent=independent)
    monkeypatch.setattr(logistic, "_VALUES_AT_ONCE", 7)
    parts = fit_logistic(one_of(*items()), one_of(*items(seed=1)), independent=independent)
    assert parts.strength == whole.strength
    torch.testing.assert_close(parts.head.weight, whole.head.weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("independent", [False, True])
def test_a_class_that_never_occurs_is_never_predicted_and_changes_no_other(independent: bool) -> None:
    features, labels = items(n_classes=2)
    without = fit_logistic(one_of(features, labels, 2), one_of(features, labels, 2), independent=independent).head
    with_it = one_of(features, labels * 2, 3)  # class 1 is never true
    held_out = one_of(features, np.where(np.arange(len(labels)) < 3, 1, labels * 2), 3)  # but is, on validation
    head = fit_logistic(with_it, held_out if independent else with_it, independent=independent).head
    logits = head(torch.from_numpy(features))
    shares = logits.sigmoid() if independent else logits.softmax(1)
    assert (shares[:, 1] == 0).all()
    torch.testing.assert_close(head.weight[[0, 2]], without.weight, rtol=1e-3, atol=1e-3)
    fit_logistic(with_it, held_out, independent=independent)


def test_a_class_that_is_always_true_is_always_predicted_and_nothing_to_learn_is_no_error() -> None:
    features, _ = items()
    targets = np.tile([1.0, 0.0], (len(features), 1))
    fit = fit_logistic(rows_of(features, targets), rows_of(features, targets), independent=True)
    assert fit.head(torch.from_numpy(features)).sigmoid().tolist() == targets.tolist()
    only = fit_logistic(rows_of(features, targets), rows_of(features, targets), independent=False)
    assert only.head(torch.from_numpy(features)).softmax(1).tolist() == targets.tolist()


def test_a_feature_that_does_not_vary_has_no_weight() -> None:
    features, labels = items()
    features[:, 1] = 0.3
    fit = fit_logistic(one_of(features, labels), one_of(features, labels), independent=False)
    assert fit.head.weight[:, 1].tolist() == pytest.approx([0.0] * 3, abs=1e-12)
    assert fit.head.weight.isfinite().all()


def test_validation_chooses_the_penalty() -> None:
    features, labels = items(400)
    noise = np.random.default_rng(1).permutation(labels)
    learnt = fit_logistic(one_of(features, labels), one_of(*items(400)), independent=False)
    assert learnt.strength <= 0.01
    assert fit_logistic(one_of(features, noise), one_of(features, labels[::-1]), independent=False).strength == 0.1
    exact = (features[:, 0] > 0).astype(int)
    told = one_of(features, exact, 2)
    assert fit_logistic(told, told, independent=False).strength == 1e-5


def test_the_loss_on_validation_is_the_lowest_of_those_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    train, (features, labels) = one_of(*items(60)), items(60, seed=0)
    valid = one_of(features, np.where(np.arange(60) % 4, labels, (labels + 1) % 3))

    def loss(fit: Fit) -> float:
        logits = fit.head(valid.features).log_softmax(1)
        return -float((logits * valid.targets).sum(1).mean())

    chosen = fit_logistic(train, valid, independent=False)
    losses = {strength: loss(at_strength(monkeypatch, strength, train)) for strength in logistic.STRENGTHS}
    assert chosen.strength == min(losses, key=lambda each: losses[each])


def test_the_number_of_threads_is_as_it_was_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    fit_logistic(one_of(*items()), one_of(*items()), independent=False)
    assert asked == [1, 3]


def test_single_precision_features_come_to_the_minimum_that_double_precision_has() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(3000, 40)) @ np.diag(np.logspace(0, -3, 40)) @ random.normal(size=(40, 40))
    labels = (features @ random.normal(size=(40, 3)) + 0.3 * random.gumbel(size=(3000, 3))).argmax(1)
    known, held_out = one_of(features[:2000], labels[:2000]), one_of(features[2000:], labels[2000:])
    single, double = (
        fit_logistic(*(Rows(rows.features.to(dtype), rows.targets) for rows in (known, held_out)), independent=False)
        for dtype in (torch.float32, torch.float64)
    )
    assert single.converged
    assert double.converged
    assert single.strength == double.strength
    minima = [
        fit.train_loss
        + fit.strength / 2 * float((fit.head.weight.detach() * known.features.std(0, correction=0)).square().sum())
        for fit in (single, double)
    ]
    assert minima[0] == pytest.approx(minima[1], abs=1e-5)
