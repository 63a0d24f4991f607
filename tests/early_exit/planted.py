"""A model whose states are known: noise, and at one layer alone the labels of residues."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from plmdepth.language_models.layer_stack import LayerCall, LayerStack
from plmdepth.language_models.spelling.spelling import Tokens
from plmdepth.proteins.tasks.task import Task
from plmdepth.randomness import keyed_generator
from tests.probes.cells import CLASSES


def plant_residues(patch: pytest.MonkeyPatch, task: Task, at: int) -> None:
    """Replace the states of every model: the label of each residue is visible at layer ``at`` and nowhere else.

    States go along with the call of the layers, one entry a protein, so that proteins can leave.
    """
    labels = {each.protein.sequence: each.label for members in task.splits.values() for each in members}
    embed = LayerStack.embed

    def states(stack: LayerStack, tokens: Tokens, row: int) -> Tensor:
        spelt = tokens.ids[row, stack.spelling.tokens_of_residues(tokens, row)].tolist()
        letters = {index: letter for letter, index in stack.spelling.letters.items()}
        sequence = "".join(letters[index] for index in spelt)
        label = labels.get(sequence, np.zeros(len(spelt), dtype=int))
        random = keyed_generator(0, "residue noise", sequence)
        noise = np.zeros((tokens.ids.shape[1], stack.n_layers + 1, stack.width))
        places = stack.spelling.tokens_of_residues(tokens, row).numpy()
        noise[places] = random.normal(size=(len(spelt), stack.n_layers + 1, stack.width))
        noise[places, at, : len(CLASSES)] += 20.0 * (np.arange(len(CLASSES)) == label[:, None])
        return torch.from_numpy(noise).float()

    def planted(stack: LayerStack, tokens: Tokens) -> tuple[Tensor, LayerCall]:
        _, call = embed(stack, tokens)
        known = torch.stack([states(stack, tokens, row) for row in range(len(tokens.ids))])
        return known[:, :, 0], replace(call, kwargs={**call.kwargs, "planted": known})

    def apply_layer(stack: LayerStack, layer: int, state: Tensor, call: LayerCall) -> Tensor:
        found: Tensor = call.kwargs["planted"][:, :, layer]
        assert len(found) == len(state)
        return found

    patch.setattr(LayerStack, "embed", planted)
    patch.setattr(LayerStack, "apply_layer", apply_layer)
