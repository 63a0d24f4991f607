"""What it costs to run the model to a layer."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from plmdepth.language_models.layer_stack import LayerStack, LayerView, Need
from plmdepth.probes.layerwise.features import spelt
from plmdepth.proteins.batches import token_budget_batches
from plmdepth.proteins.protein import Protein


class _Clock:
    """Notes when each state is there."""

    needs: frozenset[Need] = frozenset({"states"})

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.times: list[float] = []

    def embedded(self, state: Tensor) -> None:  # noqa: ARG002 (only the moment counts)
        self._note()

    def observe(self, view: LayerView) -> None:  # noqa: ARG002
        self._note()

    def _note(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.times.append(time.perf_counter())


@torch.no_grad()
def milliseconds_to_layer(
    stack: LayerStack, proteins: Sequence[Protein], tokens_per_batch: int, device: torch.device
) -> list[float]:
    """Return the mean milliseconds a protein until ``h_l`` is there, for l = 0..L, in batches of like length."""
    total = torch.zeros(stack.n_layers + 1, dtype=torch.float64)
    for batch in token_budget_batches([len(protein) for protein in proteins], tokens_per_batch):
        tokens, clock = spelt(stack, [proteins[i].sequence for i in batch], device), _Clock(device)
        start = time.perf_counter()
        stack.run(tokens, [clock])
        total += torch.tensor(clock.times, dtype=torch.float64) - start
    return (1000 * total / len(proteins)).tolist()
