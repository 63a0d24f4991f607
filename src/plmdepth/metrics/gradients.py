"""Gradients: how strongly the loss depends on the state after each layer (Sun et al. 2025)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from plmdepth.interventions.backward import check_gradient, target_log_probabilities
from plmdepth.language_models.layer_stack import LayerStack, LayerView, Need
from plmdepth.metrics.averages import masked_mean
from plmdepth.metrics.metric import Metric, Values
from plmdepth.metrics.quantity import Quantity
from plmdepth.objectives.objective import Example

QUANTITIES = tuple(
    Quantity("gradients", name, unit, label, bounds=(0, math.inf), scale="log")
    for name, unit, label in (
        ("gradient_norm", "nats per unit of state", "gradient of the loss"),
        ("relative_gradient", "nats per unit^2", "gradient / norm of the state"),
        ("gradient_times_norm", "nats", "gradient x norm of the state"),
    )
)


@dataclass(frozen=True)
class Gradients(Metric):
    """Differentiate the loss of each sequence with respect to the state of every residue after every layer.

    ``loss = -mean over targets of log p(true residue)``, the twenty amino acids renormalised, and ``g_l = d loss /
    d h_l``. ``gradient_norm = |g_l|``, ``relative_gradient = |g_l| / |h_l|`` and ``gradient_times_norm = |g_l| |h_l|``
    (to first order, the most that a change of the state by its own length can change the loss), averaged over all
    residues of a sequence. One forward and one backward pass a batch, which keep the activations of all layers: a
    smaller ``dataset.tokens_per_batch`` needs less memory.

    A zero state has no relative gradient and does not enter that mean: ESM-2 gives hidden residues a zero embedding.
    A sequence without targets has no value.
    """

    name: ClassVar[str] = "gradients"
    title: ClassVar[str] = "How strongly the loss depends on the state after a layer"

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The three curves, over layers 0..L."""
        return QUANTITIES

    def measure(self, stack: LayerStack, example: Example) -> Values:
        """Run a batch once forward and once backward.

        Raises:
            NonFiniteStateError: a state or a gradient holds NaN or infinity; the message names the layer.
        """
        states, gradients = summed_loss_gradients(stack, example)
        residues, n_targets = example.tokens.residues, example.scored.sum(-1, keepdim=True)
        layers = []
        for layer, (state, gradient) in enumerate(zip(states, gradients, strict=True)):
            check_gradient(gradient, layer)
            statistics = gradient_statistics(_norm(gradient) / n_targets, _norm(state))
            layers.append(masked_mean(statistics, residues & ~statistics.isnan()))
        return Values(torch.stack(layers, dim=-1).transpose(0, 1))


def gradient_statistics(gradient_norm: Tensor, state_norm: Tensor) -> Tensor:
    """Return the three quantities of every token.

    Args:
        gradient_norm: ``|g|``, ``[batch, token]``.
        state_norm: ``|h|``, ``[batch, token]``.

    Returns:
        ``|g|``, ``|g| / |h|`` (NaN for a zero state) and ``|g| |h|``, ``[quantity, batch, token]``.
    """
    relative = torch.where(state_norm > 0, gradient_norm / state_norm, torch.nan)
    return torch.stack([gradient_norm, relative, gradient_norm * state_norm])


def summed_loss_gradients(stack: LayerStack, example: Example) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Differentiate the summed loss of all targets with respect to every state.

    The sum, not the mean: no sequence depends on another, and small numbers of half precision do not underflow.

    Returns:
        ``h_0 .. h_L`` and ``d(sum over targets of -log p) / d h_l``, each ``[batch, token, feature]``.
    """
    with torch.enable_grad():
        first, call = stack.embed(example.tokens)
        seen = _States(first.detach().requires_grad_())
        final = stack.resume(1, seen.kept[0], call, [seen])
        loss = -target_log_probabilities(stack, final[example.scored], example.labels[example.scored]).sum()
        gradients = torch.autograd.grad(loss, seen.kept)
    return [state.detach() for state in seen.kept], gradients


class _States:
    needs: frozenset[Need] = frozenset({"states"})

    def __init__(self, first: Tensor) -> None:
        self.kept = [first]

    def embedded(self, state: Tensor) -> None:
        """The state that entered the run is kept already, as the leaf of the graph."""

    def observe(self, view: LayerView) -> None:
        self.kept.append(view.state)


def _norm(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors, dim=-1, dtype=torch.float64)
