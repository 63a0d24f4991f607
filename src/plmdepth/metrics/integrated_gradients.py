"""Integrated gradients: where, at each layer, the probability of the targets comes from.

Sundararajan et al. 2017; per layer of a language model: Csordas et al. 2025.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.interventions.backward import GradientRows, target_log_probabilities
from plmdepth.interventions.descent import Descent, clean_descent
from plmdepth.interventions.mean_states import mean_states
from plmdepth.interventions.path_integral import NODES_PER_INTERVAL, Attribution, Line, integrate
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.intervention_masks import check_max_layers, spaced_layers
from plmdepth.metrics.metric import InterveningMetric
from plmdepth.metrics.quantity import Quantity
from plmdepth.objectives.objective import Example

Baseline = Literal["mean", "zero"]
PLACES = ("targets", "neighbours", "rest", "special")
QUANTITIES = (
    *(Quantity("integrated_gradients", "attribution", "probability", "attribution", place) for place in PLACES),
    Quantity(
        *("integrated_gradients", "completeness_error", "", "error of the sum of attributions"),
        bounds=(0, math.inf),
        scale="log",
    ),
    Quantity("integrated_gradients", "nodes", "", "nodes of the integral", bounds=(1, math.inf), scale="log"),
)
_NEAR = 4  # tokens: one turn of a helix


@dataclass(frozen=True)
class IntegratedGradients(InterveningMetric):
    """Attribute the probability of the targets to the positions of the state after each layer.

    ``P`` is the mean over the targets of p(true residue), the twenty amino acids renormalised. At layer l all positions
    move together from a baseline ``b_l`` to ``h_l``, and position i receives ``sum over features of (h_l - b_l) *
    integral over a in 0..1 of dP/dh_l at b_l + a (h_l - b_l)``. What all positions receive adds up to ``P(h_l) -
    P(b_l)``; ``completeness_error`` says how nearly, as a share of that change or of 0.001, whichever is larger.

    ``attribution`` is summed over four places: ``targets`` (the rows whose logits predict a target), ``neighbours``
    (other residues within 4 tokens of such a row), ``rest`` (all other residues) and ``special`` (all other tokens).

    Attributes:
        baseline: ``mean``, the mean state of layer l over the residues of the data, or ``zero``. A norm rescales a
            state however small, so P jumps where a zero state begins to grow: ``zero`` needs more nodes.
        nodes: Gauss-Legendre nodes to start with, a multiple of 4; their number is doubled wherever on the line the
            attributions do not add up, until the completeness error is within the tolerance. Too few let a sum be
            right by chance where single positions are not.
        max_nodes: most nodes; an error that is still above the tolerance then stays visible in its curve.
        tolerance: largest completeness error that is aimed at.
        max_layers: most layers to measure, evenly spaced from 0 to L (others have no value); None measures all.
        means: the mean states of layers 0..L, ``[L + 1, feature]``; found in `prepared`, not an option.
    """

    name: ClassVar[str] = "integrated_gradients"
    title: ClassVar[str] = "From which positions the probability of the targets comes"
    baseline: Baseline = "mean"
    nodes: int = 16
    max_nodes: int = 128
    tolerance: float = 0.01
    max_layers: int | None = None
    means: Tensor | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.baseline not in ("mean", "zero"):
            raise InputError(f"metric.baseline={self.baseline}: choose mean or zero")
        whole = self.nodes % NODES_PER_INTERVAL == self.max_nodes % NODES_PER_INTERVAL == 0
        if not (whole and 0 < self.nodes <= self.max_nodes):
            raise InputError(
                f"metric.nodes={self.nodes} and metric.max_nodes={self.max_nodes}: both are multiples of "
                f"{NODES_PER_INTERVAL}, and nodes is at most max_nodes"
            )
        if not self.tolerance >= 0:
            raise InputError(f"metric.tolerance={self.tolerance}: the tolerance is 0 or more, 0.01 say")
        check_max_layers(self.max_layers)

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """``attribution`` at four places, ``completeness_error`` and ``nodes``, over layers 0..L."""
        return QUANTITIES

    def prepared(self, stack: LayerStack, examples: Iterable[Example]) -> Self:
        """Return the metric with the mean states of the data, which ``baseline=mean`` needs."""
        return replace(self, means=mean_states(stack, examples)) if self.baseline == "mean" else self

    def measure_sequence(self, stack: LayerStack, example: Example) -> tuple[Tensor, None]:
        """Return ``[quantity, layer]``, NaN at layers that are not measured and without targets.

        Raises:
            ValueError: ``baseline=mean``, and `prepared` has not been called.
        """
        values = torch.full((len(QUANTITIES), stack.n_layers + 1), torch.nan, dtype=torch.float64)
        scored = example.scored[0]
        if bool(scored.any()):
            descent = clean_descent(stack, example.tokens)
            rows = GradientRows(stack, descent.call, _score(stack, example), self.max_rows)
            places = places_of(example.tokens.residues[0], scored).double()
            for layer in spaced_layers(stack.n_layers, self.max_layers):
                tokens, error, nodes = self._attribution(rows, descent, layer)
                values[:, layer] = torch.tensor([*(places @ tokens).tolist(), error, nodes], dtype=torch.float64)
        return values.to(scored.device), None

    def _attribution(self, rows: GradientRows, descent: Descent, layer: int) -> Attribution:
        state = descent.states[layer][0]
        line = Line(
            start=self._baseline(state, layer),
            end=state,
            score=lambda states: rows.scores(layer, states),
            gradients=lambda states: rows.gradients(layer, states),
            most=self.max_rows,
        )
        return integrate(line, self.nodes, self.max_nodes, self.tolerance)

    def _baseline(self, state: Tensor, layer: int) -> Tensor:
        """Return ``b_l`` at every position, ``[token, feature]``."""
        if self.baseline == "zero":
            return torch.zeros_like(state)
        if self.means is None:
            raise ValueError("baseline=mean needs the mean states: call prepared() first")
        return self.means[layer].to(state).expand_as(state)


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
