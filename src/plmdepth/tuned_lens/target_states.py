"""What a probe of the prediction reads: the states of all layers at the targets, and the model's own answer there."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from plmdepth.language_models.layer_stack import LayerStack, LayerView, Need
from plmdepth.objectives.objective import Example


@dataclass
class _TargetStates:
    """Keeps the rows of every state that predict a target."""

    scored: Tensor
    states: list[Tensor] = field(default_factory=list)
    needs: frozenset[Need] = frozenset({"states"})

    def embedded(self, state: Tensor) -> None:
        self.states.append(state[self.scored])

    def observe(self, view: LayerView) -> None:
        self.states.append(view.state[self.scored])


@torch.no_grad()
def target_states(stack: LayerStack, example: Example) -> Tensor:
    """Return ``h_0 .. h_L`` at the targets, ``[layer, target, feature]``; sequence by sequence, in order."""
    observer = _TargetStates(example.scored)
    stack.run(example.tokens, [observer])
    return torch.stack(observer.states)


def divergence_from_model(logits: Tensor, final_logits: Tensor, amino_acids: Tensor) -> Tensor:
    """Return ``KL(p_L || q)`` over the twenty amino acids renormalised, in nats (Belrose et al. 2023, eq. 4).

    Args:
        logits: of the readings q, ``[..., target, vocabulary]``.
        final_logits: of the model, ``[target, vocabulary]``.
        amino_acids: token ids of the twenty amino acids.

    Returns:
        ``[..., target]``, single precision; rounding may leave a few 1e-8 below zero.
    """
    q = logits[..., amino_acids].float().log_softmax(-1)
    p = final_logits[..., amino_acids].float().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)
