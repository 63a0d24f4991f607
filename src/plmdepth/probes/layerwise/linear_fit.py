"""Linear heads fitted to convergence: a logistic regression on every layer, its penalty chosen on validation.

The regression is that of `plmdepth.probes.layerwise.logistic`, the same that reads composition. As many layers are in
memory at once as fit; where one layer of all training proteins does not, proteins are drawn, and the record says how
many.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from plmdepth.probes.layerwise.data import ReadBatch
from plmdepth.probes.layerwise.evaluation import evaluation_batches
from plmdepth.probes.layerwise.heads import LayerHeads
from plmdepth.probes.layerwise.logistic import Fit, Rows, fit_logistic, standard
from plmdepth.proteins.tasks.task import NOT_SCORED, Labelled, Task
from plmdepth.randomness import keyed_generator

_MOST_VALUES = 2**28  # features of one layer that are fitted: 1 GB
_AT_ONCE = 2**29  # features of several layers in memory
_SMALL = 2**22  # features that are fitted in double precision


class FittedLayers(NamedTuple):
    """How the heads came out.

    Attributes:
        fits: of every layer that has a head, by its number.
        n_proteins: how many training proteins they were fitted to.
    """

    fits: dict[int, Fit]
    n_proteins: int

    @property
    def converged(self) -> dict[int, bool]:
        """Whether the fit of each layer came to its end."""
        return {layer: fit.converged for layer, fit in self.fits.items()}

    def facts(self) -> dict[str, Any]:
        """Return what a record says of them."""
        return {
            "method": "lbfgs",
            "proteins": self.n_proteins,
            "strength": {str(layer): fit.strength for layer, fit in self.fits.items()},
            "valid_loss": {str(layer): fit.valid_loss for layer, fit in self.fits.items()},
        }


class RowShape(NamedTuple):
    """What the rows of a batch are.

    Attributes:
        width: features of a state.
        residues: whether every residue is a row; without it a protein is.
        tokens: most residues of a batch.
    """

    width: int
    residues: bool
    tokens: int


def fit_linear_heads(
    heads: LayerHeads,
    task: Task,
    read: Callable[[str], ReadBatch],
    shape: RowShape,
    seed: int,
    device: torch.device,
) -> FittedLayers:
    """Fill the heads with the regressions of their layers.

    Args:
        heads: linear heads.
        task: what they learn.
        read: from a split to what makes its batches.
        shape: what the rows of a batch are.
        seed: of the proteins that are drawn where not all can be fitted.
        device: where the regressions are computed.
    """
    width, residues, tokens = shape
    kept = {split: _fitting(task, split, width, seed) for split in ("train", "valid")}
    batches = {
        split: evaluation_batches(task.splits[split], places, residues, tokens) for split, places in kept.items()
    }
    labels = {split: _labels(task, split, batches[split]) for split in kept}
    rows = sum(map(len, labels.values()))
    n_heads = len(heads.layers)
    at_once = max(1, _AT_ONCE // max(1, rows * width))
    fits: dict[int, Fit] = {}
    for first in range(0, n_heads, at_once):
        places = range(first, min(first + at_once, n_heads))
        features = {
            split: _features(read(split), batches[split], places, (len(labels[split]), width)) for split in kept
        }
        for place in places:
            known, held_out = (
                Rows(_precise(features[split][place - first]).to(device), labels[split].to(device)) for split in kept
            )
            fit = fit_logistic(known, held_out, independent=task.kind == "multilabel")
            _fill(heads.layers[place], fit, known)
            fits[heads.numbers[place]] = fit
    return FittedLayers(fits, len(kept["train"]))


def _fitting(task: Task, split: str, width: int, seed: int) -> Sequence[int]:
    """Return the places of the proteins that are fitted, or drawn among them where there are too many rows."""
    labelled = task.splits[split]
    counts = np.array([_n_rows(each, task) for each in labelled])
    if counts.sum() * width <= _MOST_VALUES:
        return range(len(labelled))
    order = keyed_generator(seed, "linear heads", f"{task.name}\t{split}").permutation(len(labelled))
    fitting = np.count_nonzero(counts[order].cumsum() * width <= _MOST_VALUES)
    return sorted(order[: max(1, fitting)].tolist())


def _n_rows(labelled: Labelled, task: Task) -> int:
    return int((labelled.label != NOT_SCORED).sum()) if task.kind == "residue" else 1


def _labels(task: Task, split: str, batches: Sequence[Sequence[int]]) -> Tensor:
    """Return which classes each row is of, ``[row, class]`` boolean."""
    found = [torch.from_numpy(np.asarray(task.splits[split][place].label)) for rows in batches for place in rows]
    if task.kind == "multilabel":
        return torch.stack(found).bool()
    numbers = torch.cat([each.reshape(-1) for each in found])
    return one_hot(numbers[numbers != NOT_SCORED].long(), len(task.classes)).bool()


def _features(read: ReadBatch, batches: Sequence[Sequence[int]], places: range, shape: tuple[int, int]) -> Tensor:
    """Return the features of some layers, ``[layer, row, feature]``, in one pass."""
    found = torch.empty((len(places), *shape))
    start = 0
    for part in _parts(read, batches):
        found[:, start : start + len(part)] = part[:, places.start : places.stop].transpose(0, 1)
        start += len(part)
    return found


def _parts(read: ReadBatch, batches: Sequence[Sequence[int]]) -> Iterator[Tensor]:
    for rows in batches:
        features, _ = read(rows)
        assert isinstance(features, Tensor)  # attention pooling is trained
        yield features


def _precise(features: Tensor) -> Tensor:
    return features.double() if features.numel() <= _SMALL else features


@torch.no_grad()
def _fill(head: Any, fit: Fit, train: Rows) -> None:
    """Write a regression into a head: its norm holds the statistics of train, its map the weights.

    A class that is never or always true in train has a finite bias there, the logit of half an item.
    """
    mean, scale = (each.cpu() for each in standard(train.features))
    norm, linear = head
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(scale.square())
    spread = (norm.running_var.double() + norm.eps).sqrt()
    extreme = math.log(2 * len(train.features))
    weight, bias = fit.head.weight.cpu(), fit.head.bias.cpu()
    linear.weight.copy_(weight * spread)
    linear.bias.copy_(bias.clamp(-extreme, extreme).where(bias.isinf(), bias) + weight @ norm.running_mean.double())
