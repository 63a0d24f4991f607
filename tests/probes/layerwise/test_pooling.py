"""Attention pooling against loops, its start as the mean, and a label that one residue carries."""

import math

import pytest
import torch
from torch import Tensor

from plmdepth.probes.layerwise.features import POOLS, mean_state
from plmdepth.probes.layerwise.heads import AttentionHeads, LayerHeads, linear_head, residue_rows
from plmdepth.probes.layerwise.pooling import AttentionPooling, ProteinStates, proteins_of

WIDTH, N_CLASSES, LAYERS = 5, 3, (0, 2, 7)


def batch(lengths: tuple[int, ...] = (4, 1, 6)) -> tuple[Tensor, Tensor]:
    """Return states ``[protein, token, layer, feature]`` and which tokens are residues: neither first nor padding."""
    torch.manual_seed(0)
    states = torch.randn(len(lengths), max(lengths) + 2, len(LAYERS), WIDTH)
    token = torch.arange(states.shape[1])
    return states, (token >= 1) & (token[None] <= torch.tensor(lengths)[:, None])


def flat(states: Tensor, residues: Tensor) -> ProteinStates:
    return ProteinStates(states[residues], residues.nonzero()[:, 0], len(states))


def naive(states: Tensor, residues: Tensor, query: Tensor) -> list[list[float]]:
    """Pool each protein in double precision, by loops: states ``[protein, token, feature]``."""
    pooled = []
    for protein, mask in zip(states.double().tolist(), residues.tolist(), strict=True):
        kept = [state for state, inside in zip(protein, mask, strict=True) if inside]
        raised = [math.exp(sum(a * b for a, b in zip(state, query.tolist(), strict=True))) for state in kept]
        shares = [each / sum(raised) for each in raised]
        pooled.append([sum(s * state[f] for s, state in zip(shares, kept, strict=True)) for f in range(WIDTH)])
    return pooled


def with_queries(heads: AttentionHeads, size: float = 1.0) -> AttentionHeads:
    generator = torch.Generator().manual_seed(1)
    for name, parameter in heads.named_parameters():
        if name.endswith("query"):
            parameter.data = size * torch.randn(WIDTH, generator=generator)
    return heads.eval()


def heads() -> AttentionHeads:
    return AttentionHeads(linear_head, len(LAYERS), WIDTH, N_CLASSES, LAYERS)


def test_it_is_the_sum_of_residues_by_their_weights() -> None:
    states, residues = batch()
    pooling = AttentionPooling(WIDTH)
    pooling.query.data = torch.randn(WIDTH)
    found = pooling(proteins_of(states[:, :, 1], residues))
    expected = torch.tensor(naive(states[:, :, 1], residues, pooling.query))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_it_begins_as_the_mean() -> None:
    states, residues = batch()
    found = AttentionPooling(WIDTH)(proteins_of(states[:, :, 0], residues))
    torch.testing.assert_close(found, mean_state(states[:, :, 0], residues), rtol=0, atol=1e-6)


def test_large_scores_stay_finite_and_choose_one_residue() -> None:
    states = torch.tensor([[0.0], [3000.0], [1.0]])
    pooling = AttentionPooling(1)
    pooling.query.data.fill_(1.0)
    found = pooling(ProteinStates(states, torch.tensor([0, 0, 1]), 2))
    assert found.flatten().tolist() == [3000.0, 1.0]


def test_every_layer_has_a_query_of_its_own_and_states_are_read_as_in_training() -> None:
    states, residues = batch()
    trained = with_queries(heads())
    logits = trained(flat(states, residues))
    assert logits.shape == (3, len(LAYERS), N_CLASSES)
    for place, layer in enumerate(LAYERS):
        head = trained.of_layer(layer)
        pooled = torch.tensor(naive(states[:, :, place], residues, head.pooling.query))
        torch.testing.assert_close(logits[:, place], head.head(pooled), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(trained.read_states(layer, states[:, :, place], residues), logits[:, place])


@pytest.mark.parametrize("pooling", ["mean", "cls", None])
def test_other_heads_read_states_as_they_read_features(pooling: str | None) -> None:
    states, residues = batch()
    pool = residue_rows if pooling is None else POOLS[pooling]  # type: ignore[index]
    plain = LayerHeads(linear_head, len(LAYERS), WIDTH, N_CLASSES, LAYERS, pool).eval()
    features = torch.stack([pool(states[:, :, place], residues) for place in range(len(LAYERS))], dim=1)
    logits = plain(features)
    assert len(logits) == (11 if pooling is None else 3)
    for place, layer in enumerate(LAYERS):
        torch.testing.assert_close(plain.read_states(layer, states[:, :, place], residues), logits[:, place])


def test_a_layer_learns_from_its_own_states_alone() -> None:
    states, residues = batch()
    states.requires_grad_()
    trained = with_queries(heads())
    trained(flat(states, residues))[:, 1].sum().backward()
    assert states.grad is not None
    assert states.grad[:, :, 1][residues].abs().sum() > 0
    assert states.grad[:, :, [0, 2]].abs().sum() == 0
    assert states.grad[~residues].abs().sum() == 0
    queries = [head.pooling.query.grad for head in trained.layers]
    assert [query is not None and bool(query.abs().sum() > 0) for query in queries] == [False, True, False]
