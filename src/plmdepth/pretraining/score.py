"""Scoring a model against the grammar: composition, the family oracle, the coupling oracle."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.objectives.objective import Objective
from plmdepth.proteins.grammar.oracle import coupling_oracle, family_oracle, unigram_loss
from plmdepth.proteins.grammar.sampling import AnnotatedProtein

_BATCH = 32


@dataclass(frozen=True)
class Score:
    """Mean losses on the same held-out targets, in nats per residue.

    Attributes:
        model: the model.
        unigram: the entropy of the composition.
        family_oracle: knows family and alignment, not the couplings.
        coupling_oracle: also reads the partner of a coupled residue where it is visible: the best possible.
    """

    model: float
    unigram: float
    family_oracle: float
    coupling_oracle: float


def score(stack: LayerStack, objective: Objective, proteins: Sequence[AnnotatedProtein], seed: int) -> dict[str, Score]:
    """Return the scores over all targets and over the coupled targets whose partner the model sees.

    Returns:
        ``all`` and ``coupled``; a model that knows the couplings is below the family oracle in the second.
    """
    losses, family, coupled, shown = (
        np.concatenate(each) for each in zip(*_scored(stack, objective, proteins, seed), strict=True)
    )
    unigram = unigram_loss(list(proteins))
    return {
        name: Score(_mean(losses[kept]), unigram, _mean(family[kept]), _mean(coupled[kept]))
        for name, kept in (("all", np.full_like(shown, True)), ("coupled", shown))
    }


def _scored(
    stack: LayerStack, objective: Objective, proteins: Sequence[AnnotatedProtein], seed: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Return per protein, over its targets: losses of model and oracles, and whether a visible partner exists."""
    rows = []
    for start in range(0, len(proteins), _BATCH):
        group = proteins[start : start + _BATCH]
        targets, losses = _model_losses(stack, objective, group, seed)
        for protein, positions, loss in zip(group, targets, losses, strict=True):
            visible = _visible(len(protein), positions, objective.name == "autoregressive", stack.spelling.reverse)
            oracle = coupling_oracle(protein, visible)[positions]
            rows.append((loss, family_oracle(protein)[positions], oracle, _sees_partner(protein, visible)[positions]))
    return rows


@torch.no_grad()
def _model_losses(
    stack: LayerStack, objective: Objective, proteins: Sequence[AnnotatedProtein], seed: int
) -> tuple[list[list[int]], list[np.ndarray]]:
    """Return the targets of every protein and the model's loss on them, over the twenty amino acids."""
    example = objective.present(proteins, stack.spelling, seed)
    logits = stack.logits(stack.run(example.tokens)[example.scored]).float()
    amino_acids = stack.spelling.amino_acids
    log_probabilities = logits[:, amino_acids].log_softmax(-1)
    labels = (example.labels[example.scored][:, None] == amino_acids).int().argmax(-1)
    losses = -log_probabilities.gather(-1, labels[:, None])[:, 0]
    counts = [len(positions) for positions in example.targets]
    return [list(positions) for positions in example.targets], [part.numpy() for part in losses.split(counts)]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _visible(length: int, targets: list[int], causal: bool, reverse: bool) -> np.ndarray:
    """Return ``[residue, residue]``: is j shown when i is predicted?"""
    if causal:
        before = np.tril(np.ones((length, length), dtype=bool), k=-1)
        return before.T if reverse else before
    shown = np.ones(length, dtype=bool)
    shown[targets] = False
    return np.broadcast_to(shown, (length, length))


def _sees_partner(protein: AnnotatedProtein, visible: np.ndarray) -> np.ndarray:
    sees = np.zeros(len(protein), dtype=bool)
    for first, second in protein.contacts:
        sees[first], sees[second] = visible[first, second], visible[second, first]
    return sees
