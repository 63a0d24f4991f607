"""Integrated gradients: where, at each layer, the probability of the targets comes from.

Sundararajan et al. 2017; per layer of a language model: Csordas et al. 2025.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.interventions.backward import GradientRows, target_log_probabilities
from plmdepth.interventions.descent import Descent, clean_descent
from plmdepth.interventions.mean_states import mean_states
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.metric import Curves, Reduction, Values
from plmdepth.metrics.quantity import Quantity
from plmdepth.objectives.objective import Example

Baseline = Literal["mean", "zero"]
PLACES = ("targets", "neighbours", "rest", "special")
QUANTITIES = (
    *(Quantity("integrated_gradients", "attribution", "probability", "attribution", place) for place in PLACES),
    Quantity("integrated_gradients", "completeness_error", "", "error of the sum of attributions", bounds=(0, math.inf)),
    Quantity("integrated_gradients", "nodes", "", "nodes of the integral", bounds=(1, math.inf)),
)
_NEAR = 4  # tokens: one turn of a helix
_LEAST_CHANGE = 1e-3  # of a probability: below it, an error is no longer judged by its share


class Attribution(NamedTuple):
    """What the integral at one layer gave.

    Attributes:
        tokens: the attribution of every position, ``[token]``, double precision.
        error: ``|sum of attributions - change| / max(|change|, 0.001)``.
        nodes: number of nodes of the integral.
    """

    tokens: Tensor
    error: float
    nodes: int


@dataclass(frozen=True)
class IntegratedGradients:
    """Attribute the probability of the targets to the positions of the state after each layer.

    ``P`` is the mean over the targets of p(true residue), the twenty amino acids renormalised. At layer l all positions
    move together from a baseline ``b_l`` to ``h_l``, and position i receives ``sum over features of (h_l - b_l) *
    integral over a in 0..1 of dP/dh_l at b_l + a (h_l - b_l)``. What all positions receive adds up to ``P(h_l) -
    P(b_l)``; ``completeness_error`` says how nearly, as a share of that change or of 0.001, whichever is larger.

    ``attribution`` is summed over four places: ``targets`` (the rows whose logits predict a target), ``neighbours``
    (other residues within 4 tokens of such a row), ``rest`` (all other residues) and ``special`` (all other tokens).

    Attributes:
        baseline: ``mean``, the mean state of layer l over the residues of the data, or ``zero``. Where a zero state
            becomes a small one a norm at the entrance of a layer changes abruptly, so ``zero`` needs more nodes.
        nodes: Gauss-Legendre nodes to start with; doubled until the completeness error is within the tolerance.
        max_nodes: most nodes; an error that is still above the tolerance then stays visible in its curve.
        tolerance: largest completeness error that ends the doubling.
        max_layers: most layers to measure, evenly spaced from 0 to L (others have no value); None measures all.
        max_rows: most nodes that run at once; changes speed and memory, never a number.
        means: the mean states of layers 0..L, ``[L + 1, feature]``; found in `prepared`, not an option.
    """

    name: ClassVar[str] = "integrated_gradients"
    matrices: ClassVar[tuple[Quantity, ...]] = ()
    reduction: ClassVar[Reduction] = "mean"
    baseline: Baseline = "mean"
    nodes: int = 8
    max_nodes: int = 128
    tolerance: float = 0.01
    max_layers: int | None = None
    max_rows: int = 8
    means: Tensor | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.baseline not in ("mean", "zero"):
            raise InputError(f"metric.baseline={self.baseline}: choose mean or zero")
        if not 1 <= self.nodes <= self.max_nodes:
            raise InputError(
                f"metric.nodes={self.nodes} and metric.max_nodes={self.max_nodes}: nodes begin at 1 or more "
                "and end at max_nodes"
            )
        if not self.tolerance >= 0:
            raise InputError(f"metric.tolerance={self.tolerance}: the tolerance is 0 or more, 0.01 say")
        if self.max_layers is not None and self.max_layers < 2:
            raise InputError(f"metric.max_layers={self.max_layers}: layers 0 and L make 2; null measures all")
        if self.max_rows < 1:
            raise InputError(f"metric.max_rows={self.max_rows}: at least one node runs at a time")

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """``attribution`` at four places, ``completeness_error`` and ``nodes``, over layers 0..L."""
        return QUANTITIES

    def prepared(self, stack: LayerStack, examples: Iterable[Example]) -> Self:
        """Return the metric with the mean states of the data, which ``baseline=mean`` needs."""
        return replace(self, means=mean_states(stack, examples)) if self.baseline == "mean" else self

    @torch.no_grad()
    def measure(self, stack: LayerStack, example: Example) -> Values:
        """Measure one sequence after the other: without padding, all nodes share the same layer calls.

        Raises:
            NonFiniteStateError: a state or a gradient holds NaN or infinity; the message names the layer.
            ValueError: ``baseline=mean``, and `prepared` has not been called.
        """
        sequences = [self._sequence(stack, example.sequence(row)) for row in range(len(example.targets))]
        return Values(torch.stack(sequences))

    def scalars(self, curves: Curves) -> dict[str, Tensor]:  # noqa: ARG002 (it has none)
        """Return nothing."""
        return {}

    def _sequence(self, stack: LayerStack, example: Example) -> Tensor:
        """Return ``[quantity, layer]``, NaN at layers that are not measured and without targets."""
        values = torch.full((len(QUANTITIES), stack.n_layers + 1), torch.nan, dtype=torch.float64)
        scored = example.scored[0]
        if bool(scored.any()):
            descent = clean_descent(stack, example.tokens)
            rows = GradientRows(stack, descent.call, _score(stack, example), self.max_rows)
            places = places_of(example.tokens.residues[0], scored).double()
            for layer in _spaced(stack.n_layers, self.max_layers):
                tokens, error, nodes = self._attribution(rows, descent, layer)
                values[:, layer] = torch.tensor([*(places @ tokens).tolist(), error, nodes], dtype=torch.float64)
        return values.to(scored.device)

    def _attribution(self, rows: GradientRows, descent: Descent, layer: int) -> Attribution:
        """Double the nodes until the attributions of one layer add up, or there are ``max_nodes``."""
        state = descent.states[layer][0]
        baseline = self._baseline(state, layer)
        final = rows.scores(rows.stack.n_layers, descent.states[-1])
        change = float(final - rows.scores(layer, baseline[None]))
        nodes = self.nodes
        while True:
            found = integrated(lambda path: rows.gradients(layer, path), baseline, state, nodes, self.max_rows)
            error = abs(float(found.sum()) - change) / max(abs(change), _LEAST_CHANGE)
            if error <= self.tolerance or nodes == self.max_nodes:
                return Attribution(found, error, nodes)
            nodes = min(2 * nodes, self.max_nodes)

    def _baseline(self, state: Tensor, layer: int) -> Tensor:
        """Return ``b_l`` at every position, ``[token, feature]``."""
        if self.baseline == "zero":
            return torch.zeros_like(state)
        if self.means is None:
            raise ValueError("baseline=mean needs the mean states: call prepared() first")
        return self.means[layer].to(state).expand_as(state)


def integrated(
    gradients: Callable[[Tensor], Tensor], baseline: Tensor, state: Tensor, nodes: int, most: int = 8
) -> Tensor:
    """Return ``sum over features of (h - b) * integral of dF/dh along the straight line from b to h``, per token.

    Gauss-Legendre: exact where the gradient along the line is a polynomial of degree below ``2 * nodes``.

    Args:
        gradients: from states ``[row, token, feature]`` to the gradient of F at each, of the same shape.
        baseline: b, ``[token, feature]``.
        state: h, ``[token, feature]``.
        nodes: number of nodes.
        most: most states that are differentiated at once.

    Returns:
        ``[token]``, in the unit of F, double precision.
    """
    points, weights = (torch.from_numpy(x).to(state.device) for x in np.polynomial.legendre.leggauss(nodes))
    change = state.double() - baseline.double()
    total = torch.zeros_like(change[:, 0])
    for shares, chunk in zip(((points + 1) / 2).split(most), (weights / 2).split(most), strict=True):
        path = (baseline.double() + shares[:, None, None] * change).to(state.dtype)
        total += torch.einsum("n,ntf,tf->t", chunk, gradients(path).double(), change)
    return total


def places_of(residues: Tensor, scored: Tensor) -> Tensor:
    """Return which tokens belong to each of `PLACES`; every token belongs to exactly one.

    Args:
        residues: the residue mask, ``[token]``.
        scored: true for rows whose logits predict a target, ``[token]``.

    Returns:
        ``[place, token]``, boolean.
    """
    width = 2 * _NEAR + 1
    near = torch.nn.functional.max_pool1d(scored.float()[None], width, stride=1, padding=_NEAR)[0] > 0
    other = residues & ~scored
    return torch.stack([scored, other & near, other & ~near, ~residues & ~scored])


def _score(stack: LayerStack, example: Example) -> Callable[[Tensor], Tensor]:
    """Return the function from ``h_L`` to P."""
    scored = example.scored[0]
    labels = example.labels[0, scored]
    return lambda state: target_log_probabilities(stack, state[:, scored], labels).exp().mean(-1)


def _spaced(n_layers: int, most: int | None) -> list[int]:
    """Return at most that many layers, evenly spaced, the first 0 and the last L."""
    count = n_layers + 1 if most is None else min(most, n_layers + 1)
    return [round(index * n_layers / (count - 1)) for index in range(count)]
