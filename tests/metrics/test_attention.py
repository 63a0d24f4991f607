import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.attention import Attention, contact_shares, placed_beta
from plmdepth.objectives.objective import Example
from tests.metrics.test_attention_decomposition import FAMILIES, FAST, all_scores
from tests.stacks import PROTEINS, example_for, stack_of, walk

NAMES = [quantity.name for quantity in Attention.per_head]


def with_backbones(stack: LayerStack) -> Example:
    return replace(example_for(stack), backbones=tuple(walk(len(each)) for each in PROTEINS))


def measured(stack: LayerStack, example: Example) -> Tensor:
    """Return ``[sequence, quantity, head, layer]``."""
    metric = Attention().bound(stack)
    curves = metric.measure(stack, example).curves
    return torch.stack([metric.of_heads(curves, name) for name in NAMES], dim=1)


def naive(probabilities: np.ndarray, logits: np.ndarray, residues: list[int], beta: np.ndarray) -> list[float]:
    """Return all quantities of one head of one sequence without padding, from loops over pairs."""
    entropy, relative, distance, special, near = [], [], [], [], []
    masses: dict[int, list[tuple[float, bool]]] = {}
    for a, i in enumerate(residues):
        row = probabilities[i].astype(float)
        found = -sum(p * math.log(p) for p in row if p > 0)
        entropy.append(found)
        allowed = np.isfinite(logits[i]).sum()
        if allowed > 1:
            relative.append(found / math.log(allowed))
        among = sum(row[j] for j in residues)
        special.append(1 - among)
        distance.append(sum(row[j] * abs(a - b) for b, j in enumerate(residues)) / among)
        near.append(sum(row[j] for b, j in enumerate(residues) if abs(a - b) <= 1) / among)
        for b, j in enumerate(residues):
            gap = np.linalg.norm(beta[a] - beta[b])
            if abs(a - b) >= 6 and not np.isnan(gap):
                masses.setdefault(abs(a - b), []).append((row[j], bool(gap < 8)))
    everything = [pair for pairs in masses.values() for pair in pairs]
    total = sum(mass for mass, _ in everything)
    share = sum(mass for mass, contact in everything if contact) / total
    chance = sum(contact for _, contact in everything) / len(everything)
    by_distance = sum(
        sum(mass for mass, _ in pairs) / total * sum(contact for _, contact in pairs) / len(pairs)
        for pairs in masses.values()
    )
    means = [float(np.mean(each)) for each in (entropy, relative, distance, special, near)]
    return [*means, share, share / chance, share / by_distance]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_quantity_equals_loops_over_pairs(family: str) -> None:
    stack = stack_of(family)
    example = with_backbones(stack)
    found = measured(stack, example)
    row = 0
    scores = all_scores(stack, example.sequence(row))
    tokens = example.sequence(row).whole().tokens
    order = stack.spelling.tokens_of_residues(tokens, 0)
    residues = tokens.residues[0].nonzero()[:, 0].tolist()
    has_backbone = len(residues) == len(PROTEINS[row]) and stack.spelling.unit == "residue"
    beta = placed_beta(torch.from_numpy(walk(len(PROTEINS[row]))).double())
    beta = beta[order.argsort()] if has_backbone else torch.zeros(len(residues), 3, dtype=torch.float64)
    for layer in (0, stack.n_layers - 1):
        for head in (0, 3):
            expected = naive(
                scores[layer].probabilities[0, head].numpy(),
                scores[layer].logits[0, head].numpy(),
                residues,
                beta.numpy(),
            )
            kept = len(expected) if has_backbone else 5
            np.testing.assert_allclose(found[row, :kept, head, layer].numpy(), expected[:kept], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("family", FAST)
def test_neither_padding_nor_batches_change_anything(family: str) -> None:
    stack = stack_of(family)
    example = with_backbones(stack)
    together = measured(stack, example)
    for row in range(len(PROTEINS)):
        torch.testing.assert_close(
            together[row], measured(stack, example.sequence(row))[0], rtol=1e-3, atol=1e-5, equal_nan=True
        )


def test_uniform_attention_has_the_entropy_of_its_tokens() -> None:
    stack = stack_of("esm2")
    for layer in stack.anatomy.layers:
        torch.nn.init.zeros_(layer.attention.self.query.weight)
        torch.nn.init.zeros_(layer.attention.self.query.bias)
    example = with_backbones(stack)
    found = measured(stack, example)
    for row, protein in enumerate(PROTEINS):
        n = len(protein)
        expected = {
            "attention_entropy": math.log(n + 2),
            "relative_entropy": 1.0,
            "share_special": 2 / (n + 2),
            "share_near": (3 * n - 2) / n**2,
            "attention_distance": (n * n - 1) / (3 * n),
            "contacts_over_chance": 1.0,
            "contacts_over_distance": 1.0,
        }
        for name, value in expected.items():
            read = found[row, NAMES.index(name)]
            torch.testing.assert_close(read, torch.full_like(read, value), rtol=1e-5, atol=1e-6)


def test_a_head_on_contacts_is_told_from_one_on_their_distances() -> None:
    n = 60
    beta = placed_beta(torch.from_numpy(walk(n)).double())
    number = torch.arange(n)
    apart = (number[:, None] - number).abs()
    between = torch.linalg.vector_norm(beta[:, None] - beta, dim=-1)
    contact = (between < 8) & (apart >= 6)
    on_contacts = contact.double() + 1e-3
    local = torch.exp(-apart / 4).double()
    share, chance, distance = contact_shares(torch.stack([on_contacts, local]), beta, 6, 8.0)
    assert share[0] > 0.9
    assert distance[0] > 2
    assert chance[1] > 1.5
    assert 0.7 < distance[1] < 1.3


def test_beta_carbons_stand_where_real_ones_do() -> None:
    # N, CA, C and CB of an ideal alanine (Engh and Huber).
    backbone = torch.tensor([[[1.458, 0.0, 0.0], [0.0, 0.0, 0.0], [-0.551, 1.420, 0.0]]], dtype=torch.float64)
    beta = placed_beta(backbone)[0]
    assert float(beta.norm()) == pytest.approx(1.53, abs=0.02)
    for atom in (0, 2):
        arm = backbone[0, atom]
        angle = math.degrees(math.acos(float(beta @ arm / beta.norm() / arm.norm())))
        assert angle == pytest.approx(110.3, abs=2)
    assert placed_beta(torch.full((1, 3, 3), torch.nan)).isnan().all()


def test_without_structures_contacts_are_undefined() -> None:
    stack = stack_of("esm2")
    found = measured(stack, example_for(stack))
    assert found[:, 5:].isnan().all()
    assert not found[:, :5].isnan().any()


@pytest.mark.parametrize(("option", "value"), [("near", -1), ("separation", 0), ("cutoff", 0.0)])
def test_options_out_of_range_are_refused(option: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"metric\.{option}={value}"):
        Attention(**{option: value})
