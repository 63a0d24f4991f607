"""What gradients need: a score of the targets, rows of states that are differentiated in chunks, and a check."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from plmdepth.language_models.layer_stack import LayerCall, LayerStack, NonFiniteStateError

Score = Callable[[Tensor], Tensor]
"""From ``h_L`` ``[row, token, feature]`` to one number a row, ``[row]``."""


def target_log_probabilities(stack: LayerStack, states: Tensor, labels: Tensor) -> Tensor:
    """Return ``log p(true residue)`` under ``softmax(head(norm(h)))``, renormalised over the twenty amino acids.

    Args:
        stack: the model.
        states: the states of the scored rows alone, ``[..., target, feature]``.
        labels: token id of the true residue, one of the twenty, ``[target]``.

    Returns:
        ``[..., target]``, nats, double precision; differentiable.
    """
    amino_acids = stack.spelling.amino_acids.to(labels.device)
    log_probabilities = stack.logits(states)[..., amino_acids].double().log_softmax(-1)
    truth = (labels[:, None] == amino_acids).int().argmax(-1)
    return log_probabilities.gather(-1, truth.expand(log_probabilities.shape[:-1])[..., None])[..., 0]


@dataclass
class GradientRows:
    """Differentiates a score with respect to a state, for many rows in chunks; as `Rows`, with gradients.

    Attributes:
        stack: the model.
        call: what every layer receives beside the state, of one sequence without padding.
        score: what is differentiated.
        most: most rows a chunk; halved, and kept so, when a device runs out of memory.
    """

    stack: LayerStack
    call: LayerCall
    score: Score
    most: int = 8

    def gradients(self, layer: int, states: Tensor) -> Tensor:
        """Return ``d score / d h_l`` of every row, ``[row, token, feature]``, running layers l+1..L alone.

        Args:
            layer: l, from 0.
            states: ``h_l``, ``[row, token, feature]``.

        Raises:
            NonFiniteStateError: a gradient holds NaN or infinity; the message names the layer.
        """
        while True:
            try:
                found = torch.cat([self._chunk(layer, chunk) for chunk in states.split(self.most)])
            except torch.OutOfMemoryError:
                if self.most == 1:
                    raise
                self.most = max(1, self.most // 2)
            else:
                check_gradient(found, layer)
                return found

    @torch.no_grad()
    def scores(self, layer: int, states: Tensor) -> Tensor:
        """Return the score of every row, ``[row]``, running layers l+1..L alone."""
        return torch.cat([self._score(layer, chunk) for chunk in states.split(self.most)])

    def _chunk(self, layer: int, states: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = states.detach().requires_grad_()
            total = self._score(layer, leaf).sum()  # a row's score depends on that row alone
        return torch.autograd.grad(total, leaf)[0]

    def _score(self, layer: int, state: Tensor) -> Tensor:
        for above in range(layer + 1, self.stack.n_layers + 1):
            state = self.stack.apply_layer(above, state, self.call)
        return self.score(state)


def check_gradient(gradient: Tensor, layer: int) -> None:
    """Raise `NonFiniteStateError` for a gradient at layer l that holds NaN or infinity."""
    if not bool(torch.isfinite(gradient).all()):
        raise NonFiniteStateError(
            f"the gradient at the state after layer {layer} holds NaN or infinity; try model.dtype=float32"
        )
