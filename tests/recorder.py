"""What a run shows, kept; and what it must not leave behind."""

import torch
from torch import Tensor

from plmdepth.language_models.layer_stack import LayerStack, LayerView, Need
from plmdepth.objectives.objective import Example
from tests.stacks import example_for


class Recorder:
    """Keeps everything that it sees."""

    needs: frozenset[Need] = frozenset({"states", "contributions"})

    def __init__(self) -> None:
        self.states: list[Tensor] = []
        self.views: list[LayerView] = []

    def embedded(self, state: Tensor) -> None:
        self.states.append(state)

    def observe(self, view: LayerView) -> None:
        self.states.append(view.state)
        self.views.append(view)


def watched(stack: LayerStack, example: Example | None = None) -> Recorder:
    recorder = Recorder()
    with torch.no_grad():
        stack.run((example or example_for(stack)).tokens, [recorder])
    return recorder


def hooks_of(stack: LayerStack) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in stack.module.modules())
