"""Where proteins leave, against a loop, and by hand."""

import pytest
import torch

from plmdepth.early_exit.policy import FALLBACKS, Fallback, chosen, exits

CONFIDENCE = torch.tensor(
    [
        [0.99, 0.99, 0.99],  # the embedding is never left from
        [0.50, 0.10, 0.30],
        [0.80, 0.20, 0.70],
        [0.60, 0.90, 0.40],
    ]
)


def naive(confidence: torch.Tensor, threshold: float, fallback: Fallback) -> list[tuple[int, int]]:
    found = []
    for protein in range(confidence.shape[1]):
        column = confidence[:, protein].tolist()
        n_layers = len(column) - 1
        sure = [layer for layer in range(1, n_layers + 1) if column[layer] >= threshold]
        never = n_layers if fallback == "last" else 1 + column[1:].index(max(column[1:]))
        found.append((sure[0], sure[0]) if sure else (never, n_layers))
    return found


def test_by_hand() -> None:
    layer, computed = exits(CONFIDENCE, torch.tensor([0.75]), "most_confident")
    assert layer.tolist() == [[2, 3, 2]]  # the third was never sure: its most confident layer is 2
    assert computed.tolist() == [[2, 3, 3]]
    assert exits(CONFIDENCE, torch.tensor([0.75]), "last").layer.tolist() == [[2, 3, 3]]


@pytest.mark.parametrize("fallback", FALLBACKS)
def test_all_thresholds_at_once_equal_a_loop(fallback: Fallback) -> None:
    confidence = torch.rand((9, 40), generator=torch.Generator().manual_seed(0))
    thresholds = torch.linspace(0, 1.1, 23)
    layer, computed = exits(confidence, thresholds, fallback)
    for row, threshold in enumerate(thresholds.tolist()):
        mine = list(zip(layer[row].tolist(), computed[row].tolist(), strict=True))
        assert mine == naive(confidence, threshold, fallback)


def test_a_higher_threshold_never_saves_a_layer() -> None:
    confidence = torch.rand((9, 40), generator=torch.Generator().manual_seed(1))
    computed = exits(confidence, torch.linspace(0, 1, 50), "last").computed
    assert (computed.diff(dim=0) >= 0).all()
    assert (computed[0] == 1).all()


def test_the_prediction_is_that_of_the_layer_of_exit() -> None:
    probabilities = torch.rand((4, 3, 2))
    found = chosen(probabilities, torch.tensor([3, 1, 2]))
    assert torch.equal(found, torch.stack([probabilities[3, 0], probabilities[1, 1], probabilities[2, 2]]))


def test_thresholds_are_compared_in_the_precision_of_the_confidence() -> None:
    below = torch.tensor(0.9)  # in single precision a little less than 0.9; a running protein leaves with it
    confidence = torch.stack([torch.zeros(()), below, below])[:, None]
    assert (below >= 0.9).item()
    assert float(below) < 0.9
    assert exits(confidence, torch.tensor([0.9], dtype=torch.float64), "last").computed.tolist() == [[1]]
