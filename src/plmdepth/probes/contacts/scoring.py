"""The precision of every layer and of what it is held against, over the proteins of a split."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.accumulators import Estimate, MeanAccumulator, bootstrap_weights
from plmdepth.probes.contacts.features import read_pairs
from plmdepth.probes.contacts.precision import QUANTITIES, precisions
from plmdepth.probes.contacts.recipe import LEAST_SEPARATION
from plmdepth.probes.contacts.regression import LayerRegressions
from plmdepth.proteins.tasks.contacts import ContactProtein, Pairs

BASELINES = ("random", "separation", "perfect")
"""Rankings beside those of the layers: pairs in random order (the share of contacts among them), by the regression on
the separation alone, and all contacts first (what a precision at k can be at most)."""


class ContactScores(NamedTuple):
    """The scores of one split.

    Attributes:
        name: ``valid`` or ``test``.
        estimate: ``[quantity, row]``; rows are layers 1..L (the embedding attends to nothing) and then `BASELINES`.
    """

    name: str
    estimate: Estimate

    def layers(self) -> Estimate:
        """Return all quantities ``[quantity, layer]`` of layers 0..L; NaN at 0."""
        found = Estimate(*(part[..., : -len(BASELINES)] for part in self.estimate))
        spread = Estimate(*(pad(part, (1, 0), value=torch.nan) for part in found))
        return spread._replace(n=pad(found.n, (1, 0)))

    def rows(self, quantity: int) -> Estimate:
        """Return one quantity of all rows."""
        return Estimate(*(part[..., quantity, :] for part in self.estimate))


def scored(
    stack: LayerStack,
    regressions: LayerRegressions,
    name: str,
    proteins: Sequence[ContactProtein],
    seed: int,
    n_replicates: int,
    device: torch.device,
) -> ContactScores:
    """Return means over proteins with intervals; one protein is in memory at a time, and of it one layer.

    Args:
        stack: the model.
        regressions: what was fitted.
        name: of the split.
        proteins: its proteins.
        seed: of the bootstrap.
        n_replicates: bootstrap replicates.
        device: where the model is.
    """
    means = MeanAccumulator((len(QUANTITIES), stack.n_layers + len(BASELINES)), n_replicates)
    for each in proteins:
        pairs = each.pairs(LEAST_SEPARATION)
        rankings = torch.cat([layer_logits(stack, regressions, each, pairs, device), _baselines(regressions, pairs)])
        values = precisions(rankings, pairs, len(each.protein))
        means.update(values[None], bootstrap_weights([each.protein], seed, n_replicates))
    return ContactScores(name, means.compute())


def layer_logits(
    stack: LayerStack, regressions: LayerRegressions, each: ContactProtein, pairs: Pairs, device: torch.device
) -> Tensor:
    """Return the logit of a contact by every layer, ``[layer, pair]``, layers 1..L, double precision."""
    logits = regressions.bias[:, None].repeat(1, len(pairs.first)).to(device)
    weight = regressions.weight.to(device)

    def add(layer: int, features: Tensor) -> None:
        logits.add_(weight[:, layer - 1] @ features.double().T)

    read_pairs(stack, each, pairs, range(1, stack.n_layers + 1), add, device)
    return logits.cpu()


def _baselines(regressions: LayerRegressions, pairs: Pairs) -> Tensor:
    """Return the rankings of `BASELINES`, ``[baseline, pair]``."""
    contact = torch.from_numpy(pairs.contact).double()
    separation = regressions.separation.logits(torch.from_numpy(pairs.separation))
    return torch.stack([torch.zeros_like(contact), separation, contact])
