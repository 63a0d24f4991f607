"""Ablation: what the prediction loses when layers are dropped, exchanged, repeated or cut off.

Dropped and exchanged layers: Lad et al. 2024; blocks of layers, as pruning removes them: Gromov et al. 2024.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from plmdepth.errors import InputError
from plmdepth.interventions.descent import Descent, Rows, clean_descent
from plmdepth.interventions.wavefront import wavefront
from plmdepth.language_models.layer_stack import LayerStack, NonFiniteStateError
from plmdepth.metrics.metric import InterveningMetric
from plmdepth.metrics.quantity import Quantity, Scale
from plmdepth.objectives.objective import Example

VARIANTS = ("drop", "swap", "repeat", "truncate")
_LOSS, _ACCURACY = "change of the loss", "change of the accuracy"
_CURVES: tuple[tuple[str, str, str, tuple[float, float], Scale], ...] = (
    ("delta_cross_entropy", "nats/residue", _LOSS, (-math.inf, math.inf), "symlog"),
    ("delta_accuracy", "", _ACCURACY, (-1, 1), "symlog"),
    ("perplexity", "", "perplexity", (1, math.inf), "log"),
)


def _quantity(variant: str, name: str, unit: str, label: str, bounds: tuple[float, float], scale: Scale) -> Quantity:
    """Return a curve; those of ``truncate``, which dwarf the others, have panels of their own."""
    if variant != "truncate":
        return Quantity("ablation", name, unit, label, variant, 1, bounds, scale=scale)
    label += ", if the model ends here"
    return Quantity("ablation", name, unit, label, variant, 0, bounds, scale="log" if scale == "log" else "linear")


QUANTITIES = tuple(_quantity(variant, *curve) for variant in VARIANTS for curve in _CURVES)
BLOCKS = tuple(
    Quantity("ablation", name, unit, label, "block", 1, bounds, axes=("first layer dropped", "layers dropped"))
    for name, unit, label, bounds, _ in _CURVES[:2]
)


@dataclass(frozen=True)
class Ablation(InterveningMetric):
    """Rearrange whole layers, for all tokens, and read the targets: what is lost if a model is pruned this way.

    ``drop`` leaves layer s out, ``swap`` exchanges layers s and s+1 (no value at L), ``repeat`` applies layer s twice,
    and ``truncate`` reads the model out after layer l = 0..L with its own norm and head. CE is the mean cross-entropy
    of a sequence's targets against the true residues, over the twenty amino acids renormalised:
    ``delta_cross_entropy = CE' - CE`` in nats per residue, positive where the change hurts; ``delta_accuracy`` is
    negative where it hurts; ``perplexity = exp(CE')``. Means over sequences follow; a sequence without targets has no
    value.

    Matrices of component ``block`` are ``[first layer dropped, number of layers dropped]``, both 1..L, NaN where the
    block would leave the stack. Their first column is ``drop``; a block that reaches the end is ``truncate``.

    Attributes:
        blocks: whether blocks are dropped; with all lengths they cost ``L^3 / 6`` layer evaluations a sequence, all
            else ``3 L^2 / 2``.
        max_block: most layers in a block, None for all lengths (also if it exceeds L); nothing without ``blocks``.
    """

    name: ClassVar[str] = "ablation"
    title: ClassVar[str] = "What it costs to change the stack at a layer"
    blocks: bool = True
    max_block: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_block is not None and self.max_block < 1:
            raise InputError(f"metric.max_block={self.max_block}: a block has 1 layer or more; null drops all lengths")

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """Three quantities of each variant, over the first layer concerned; ``truncate``: the last layer kept."""
        return QUANTITIES

    @property
    def matrices(self) -> tuple[Quantity, ...]:
        """``delta_cross_entropy`` and ``delta_accuracy`` of blocks."""
        return BLOCKS if self.blocks else ()

    def measure_sequence(self, stack: LayerStack, example: Example) -> tuple[Tensor, Tensor | None]:
        """Return curves ``[quantity, layer]`` over 0..L and matrices ``[matrix, layer, layer]``."""
        n_layers = stack.n_layers
        if not bool(example.scored.any()):
            curves = example.weights.new_full((len(QUANTITIES), n_layers + 1), torch.nan, dtype=torch.float64)
            return curves, curves.new_full((len(BLOCKS), n_layers, n_layers), torch.nan) if self.blocks else None
        descent = clean_descent(stack, example.tokens)
        rows = Rows(stack, descent.call, self.max_rows)
        longest = min(self.max_block or n_layers, n_layers) if self.blocks else 1
        blocks = [scores(rows, example, without_blocks(rows, descent, n)) for n in range(1, longest + 1)]
        variants = {
            "drop": blocks[0],
            "swap": scores(rows, example, with_swaps(rows, descent)),
            "repeat": scores(rows, example, with_repeats(rows, descent)),
            "truncate": scores(rows, example, torch.cat(list(descent.states))),
        }
        _check_finite({**variants, **{f"block of {n}": found for n, found in enumerate(blocks, 1)}})
        matrices = _matrices(blocks, variants["truncate"][-1], n_layers) if self.blocks else None
        return _curves(variants, n_layers), matrices


def without_blocks(rows: Rows, descent: Descent, length: int) -> Tensor:
    """Return ``h_L`` without layers s..s+length-1, for every s, ``[L - length + 1, token, feature]``."""
    layers = range(length, rows.stack.n_layers + 1)  # the last layer of each block
    return wavefront(rows, descent, layers, lambda last: descent.states[last - length])


def with_swaps(rows: Rows, descent: Descent) -> Tensor:
    """Return ``h_L`` with layers s and s+1 exchanged, for every s below L, ``[L - 1, token, feature]``."""

    def exchanged(second: int) -> Tensor:
        return rows.apply(second - 1, rows.apply(second, descent.states[second - 2]))

    return wavefront(rows, descent, range(2, rows.stack.n_layers + 1), exchanged)


def with_repeats(rows: Rows, descent: Descent) -> Tensor:
    """Return ``h_L`` with layer s applied twice, for every s, ``[L, token, feature]``."""
    layers = range(1, rows.stack.n_layers + 1)
    return wavefront(rows, descent, layers, lambda layer: rows.apply(layer, descent.states[layer]))


def scores(rows: Rows, example: Example, states: Tensor) -> Tensor:
    """Read out the targets of one sequence from many final states.

    Args:
        rows: reads the model out.
        example: one sequence with targets.
        states: ``h_L`` of every branch, ``[branch, token, feature]``.

    Returns:
        Mean cross-entropy in nats and accuracy of every branch over the twenty amino acids renormalised,
        ``[branch, 2]``, double precision.
    """
    scored = example.scored[0]
    amino_acids = rows.stack.spelling.amino_acids.to(scored.device)
    log_probabilities = rows.logits(states[:, scored])[..., amino_acids].double().log_softmax(-1)
    truth = (example.labels[0, scored, None] == amino_acids).int().argmax(-1)
    chosen = truth.expand(log_probabilities.shape[:-1])[..., None]
    right = log_probabilities.argmax(-1) == truth
    return torch.stack([-log_probabilities.gather(-1, chosen)[..., 0].mean(-1), right.double().mean(-1)], dim=-1)


def _curves(variants: Mapping[str, Tensor], n_layers: int) -> Tensor:
    """Return ``[quantity, layer]`` over 0..L; a variant's first layer is 1, of ``truncate`` 0."""
    clean = variants["truncate"][-1]
    placed = []
    for variant in VARIANTS:
        found, first = variants[variant], 0 if variant == "truncate" else 1
        values = torch.cat([found - clean, found[:, :1].exp()], dim=1)
        placed.append(pad(values.T, (first, n_layers + 1 - first - len(found)), value=torch.nan))
    return torch.cat(placed)


def _matrices(blocks: Sequence[Tensor], clean: Tensor, n_layers: int) -> Tensor:
    """Return ``[matrix, first layer dropped, number of layers dropped]``."""
    losses = clean.new_full((len(clean), n_layers, n_layers), torch.nan)
    for index, found in enumerate(blocks):
        losses[:, : len(found), index] = (found - clean).T
    return losses


def _check_finite(measured: Mapping[str, Tensor]) -> None:
    """Raise for the first branch whose prediction is not finite."""
    for change, found in measured.items():
        broken = (~found.isfinite().all(-1)).nonzero()
        if len(broken):
            layer = int(broken[0]) + (change != "truncate")
            raise NonFiniteStateError(
                f"the prediction after {change} at layer {layer} holds NaN or infinity; try model.dtype=float32"
            )
