"""Erasure: until which layer a position still matters to the predictions (Csordas et al. 2025)."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.interventions.descent import Descent, Rows, clean_descent
from plmdepth.interventions.mean_states import mean_states
from plmdepth.language_models.layer_stack import LayerStack, NonFiniteStateError
from plmdepth.metrics.averages import masked_mean
from plmdepth.metrics.intervention_masks import check_max_layers, spaced_layers
from plmdepth.metrics.metric import Curves, InterveningMetric
from plmdepth.metrics.quantity import Quantity
from plmdepth.objectives.objective import Example
from plmdepth.randomness import keyed_generator

PLACES = ("own", "neighbours", "rest")
_OWN, _OTHER = "change of its own prediction", "change of other predictions"
QUANTITIES = tuple(
    Quantity(
        *("erasure", "erasure_effect", "", "change of the prediction", place),
        bounds=(0, math.sqrt(2)),
        panel=_OWN if place == "own" else _OTHER,
    )
    for place in PLACES
)


@dataclass(frozen=True)
class Erasure(InterveningMetric):
    """Replace ``h_l`` at one residue p by the mean state of layer l over the data, and see which predictions change.

    ``erasure_effect = |softmax(logits) - softmax(logits')|_2`` of a scored row, over the whole vocabulary. It is
    averaged over three places, over the rows of each p first, then over the positions p that have such rows:

    * ``own``: row p itself, where it is scored; what the position's state predicts.
    * ``neighbours``: other scored rows within ``neighbourhood`` tokens of p.
    * ``rest``: all other scored rows.

    In a causal model the rows before p cannot see p: they do not count anywhere. At l = L the state before the final
    norm is replaced, so only ``own`` can change.

    Attributes:
        neighbourhood: tokens on either side of p that count as neighbours.
        max_positions: most positions of a sequence that are erased, each alone; None erases all residues in turn. More
            positions of a sequence include the fewer.
        max_layers: most layers to measure, evenly spaced from 0 to L (others have no value); None measures all.
        seed: decides the positions, with the token ids of the sequence. The ids follow from the run's seed and the
            sequence, so the positions depend on (seed, sequence) alone.
        max_rows: most branches that a layer runs at once; changes speed and memory, never a number.
        max_branches: most branches of a sequence, one a layer and position, that are alive together; likewise.
        means: the mean states of layers 0..L, ``[L + 1, feature]``; found in `prepared`, not an option.
    """

    name: ClassVar[str] = "erasure"
    title: ClassVar[str] = "Until which layer a residue matters to predictions"
    neighbourhood: int = 4
    max_positions: int | None = 8
    max_layers: int | None = None
    seed: int = 0
    max_rows: int = 4
    max_branches: int = 256
    means: Tensor | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbourhood < 0:
            raise InputError(f"metric.neighbourhood={self.neighbourhood}: give 0 tokens or more")
        if self.max_positions is not None and self.max_positions < 1:
            raise InputError(f"metric.max_positions={self.max_positions}: give 1 or more; null erases every residue")
        check_max_layers(self.max_layers)
        if self.max_branches < 1:
            raise InputError(f"metric.max_branches={self.max_branches}: at least one branch is alive at a time")

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """``erasure_effect`` at three places, over the layer after which the state is erased, 0..L."""
        return QUANTITIES

    def prepared(self, stack: LayerStack, examples: Iterable[Example]) -> Self:
        """Return the metric with the mean states of the data."""
        return replace(self, means=mean_states(stack, examples))

    def scalars(self, curves: Curves) -> dict[str, Tensor]:
        """Return ``erasure_depth``, the last layer at which erasing changes the rest by over half of its maximum."""
        return {"erasure_depth": last_layer_above_half(curves["erasure_effect", "rest"])}

    def measure_sequence(self, stack: LayerStack, example: Example) -> tuple[Tensor, None]:
        """Return ``[place, layer]``, NaN at layers that are not measured and at places without rows.

        Raises:
            ValueError: `prepared` has not been called.
        """
        if (means := self.means) is None:
            raise ValueError("erasure needs the mean states: call prepared() first")
        scored = example.scored[0].nonzero()[:, 0]
        positions = erased_positions(example, self.seed, self.max_positions)
        found = means.new_full((len(PLACES), stack.n_layers + 1, len(positions)), torch.nan, device=scored.device)
        if len(scored):
            descent = clean_descent(stack, example.tokens)
            rows = Rows(stack, descent.call, self.max_rows)
            places = places_of(positions, scored, self.neighbourhood, stack.anatomy.causal)
            layers = spaced_layers(stack.n_layers, self.max_layers)
            for some, part in _blocks(layers, len(positions), self.max_branches):
                effects = erasure_effects(rows, descent, means, some, positions[part], scored)
                found[:, some, part] = torch.stack([masked_mean(effects, place[part]) for place in places])
        return found.nanmean(-1), None


def erased_positions(example: Example, seed: int, most: int | None) -> Tensor:
    """Return the tokens that are erased, ascending, ``[position]``: residues, drawn from (seed, token ids) alone.

    Args:
        example: one sequence without padding.
        seed: the run's seed.
        most: most positions; None takes every residue.
    """
    residues = example.tokens.residues[0].nonzero()[:, 0]
    if most is None or most >= len(residues):
        return residues
    text = " ".join(str(token) for token in example.tokens.ids[0].tolist())
    order = np.argsort(keyed_generator(seed, "erasure", text).random(len(residues)))
    return residues[torch.from_numpy(np.sort(order[:most])).to(residues.device)]


def places_of(positions: Tensor, scored: Tensor, neighbourhood: int, causal: bool) -> Tensor:
    """Return which scored rows belong to each of `PLACES`, seen from each erased position.

    Args:
        positions: the erased tokens, ``[position]``.
        scored: the scored rows, ``[row]``.
        neighbourhood: tokens on either side that count as neighbours.
        causal: whether rows before a position are left out, because they cannot see it.

    Returns:
        ``[place, position, row]``, boolean; a row belongs to one place at most.
    """
    offset = scored - positions[:, None]
    distance = offset.abs()
    sees = (offset >= 0) if causal else torch.ones_like(offset, dtype=torch.bool)
    near = distance <= neighbourhood
    return torch.stack([distance == 0, sees & near & (distance > 0), sees & ~near & (distance > 0)])


def erasure_effects(
    rows: Rows, descent: Descent, means: Tensor, layers: Sequence[int], positions: Tensor, scored: Tensor
) -> Tensor:
    """Return ``|softmax(logits) - softmax(logits')|_2`` of every scored row, for every layer and erased position.

    Args:
        rows: runs the layers.
        descent: the clean run.
        means: the mean states of layers 0..L, ``[L + 1, feature]``.
        layers: where the state is erased, ascending, from 0 to L.
        positions: the erased tokens, ``[position]``.
        scored: the scored rows, ``[row]``.

    Returns:
        ``[layer, position, row]``, double precision, in [0, sqrt(2)]. Exactly 0 where the final state is unchanged.

    Raises:
        NonFiniteStateError: a changed prediction holds NaN or infinity.
    """
    clean = descent.states[-1][:, scored]
    expected = _prediction(rows.stack, clean)

    def effect(state: Tensor) -> Tensor:
        distance = torch.linalg.vector_norm(_prediction(rows.stack, state) - expected, dim=-1)
        # The same state can be read out with other rounding in a batch of another size.
        return torch.where((state == clean).all(-1), 0.0, distance)

    states = erased_states(rows, descent, means, layers, positions)
    effects = torch.cat([effect(chunk[:, scored]) for chunk in states.split(rows.most)])
    effects = effects.unflatten(0, (len(layers), len(positions)))
    _check_finite(effects, layers)
    return effects


def erased_states(rows: Rows, descent: Descent, means: Tensor, layers: Sequence[int], positions: Tensor) -> Tensor:
    """Return ``h_L`` of every branch from one descent, ``[layer * position, token, feature]``, the position fastest.

    At layer k the rows are the branches of all positions that were erased before k, so that erasing after each of 0..L
    costs ``L (L + 1) / 2`` layer evaluations a position instead of ``L (L + 1)``.
    """
    first = descent.states[0]
    states = first.new_empty((0, *first.shape[1:]))
    for layer in range(rows.stack.n_layers + 1):
        if len(states):
            states = rows.apply(layer, states)
        if layer in layers:
            states = torch.cat([states, erased(descent.states[layer], means[layer], positions)])
    return states


def erased(state: Tensor, mean: Tensor, positions: Tensor) -> Tensor:
    """Return a state once for each position, with the mean ``[feature]`` there, ``[position, token, feature]``."""
    branches = state.repeat(len(positions), 1, 1)
    branches[torch.arange(len(positions), device=state.device), positions] = mean.to(state)
    return branches


def last_layer_above_half(curve: Tensor) -> Tensor:
    """Return the last layer whose value is above half of the curve's maximum; NaN does not count.

    >>> last_layer_above_half(torch.tensor([[1.0, 0.8, torch.nan, 0.6, 0.4], [0.0, 0.0, 0.0, 0.0, 0.0]])).tolist()
    [3.0, nan]
    """
    highest = curve.nan_to_num(nan=-math.inf).amax(-1, keepdim=True)
    above = curve > highest / 2
    last = curve.shape[-1] - 1 - above.flip(-1).int().argmax(-1)
    return torch.where(above.any(-1), last.double(), torch.nan)


def _blocks(layers: Sequence[int], n_positions: int, most: int) -> Iterator[tuple[list[int], slice]]:
    """Split layers x positions into blocks of at most that many branches, with all layers together if they fit."""
    for first in range(0, len(layers), most):
        some = list(layers[first : first + most])
        step = most // len(some)
        for start in range(0, n_positions, step):
            yield some, slice(start, start + step)


def _prediction(stack: LayerStack, state: Tensor) -> Tensor:
    return stack.logits(state).double().softmax(-1)


def _check_finite(effects: Tensor, layers: Sequence[int]) -> None:
    """Raise for the first layer at which a prediction is not finite."""
    broken = (~effects.isfinite().flatten(1).all(-1)).nonzero()
    if len(broken):
        raise NonFiniteStateError(
            f"the prediction after erasing at layer {layers[int(broken[0])]} holds NaN or infinity; "
            "try model.dtype=float32"
        )
