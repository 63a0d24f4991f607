"""Lenses: how a state in the middle of the stack is read as a prediction."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

from torch import Tensor, nn

from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.translators import LensDescription, Translators, describe, read_lens


class Lens(Protocol):
    """Reads states."""

    @property
    def digest(self) -> str | None:
        """What decides its numbers beside the model; None where nothing does."""

    def logits(self, stack: LayerStack, layer: int, state: Tensor) -> Tensor:
        """Return what a state of layer l = 0..L, ``[..., feature]``, predicts: ``[..., vocabulary]``."""


@dataclass(frozen=True)
class PlainLens:
    """``lens=logit``: every state is read as it is, ``head(norm(h_l))`` (nostalgebraist 2020)."""

    @property
    def digest(self) -> None:
        """Nothing but the model decides what it shows."""
        return

    def logits(self, stack: LayerStack, layer: int, state: Tensor) -> Tensor:  # noqa: ARG002 (all are read alike)
        """Return what a state predicts, as `Lens.logits`."""
        return stack.logits(state)


@dataclass(frozen=True)
class TunedLens:
    """``lens=tuned``: states are translated first, ``head(norm(h_l + W_l h_l + b_l))`` (Belrose et al. 2023).

    The last layer is read as it is. The files are read when they are first needed, and every model is compared with
    the one that the lens was fitted to before its first state is read.

    Attributes:
        path: folder that holds the fitted lens.
    """

    path: str
    _accepted: WeakSet[nn.Module] = field(default_factory=WeakSet, init=False, repr=False, compare=False)

    @cached_property
    def _loaded(self) -> tuple[Translators, LensDescription]:
        return read_lens(Path(self.path).expanduser())

    @property
    def digest(self) -> str:
        """Hash of the translators, not of where they lie."""
        return self._loaded[0].digest

    def logits(self, stack: LayerStack, layer: int, state: Tensor) -> Tensor:
        """Return what a state predicts, as `Lens.logits`.

        Raises:
            InputError: the lens was fitted to another model, or cannot be read.
        """
        translators, description = self._loaded
        if stack.module not in self._accepted:
            self._check(stack, description)
            self._accepted.add(stack.module)
        if layer == stack.n_layers:
            return stack.logits(state)
        return stack.logits(translators.to(state.device).translated(layer, state))

    def _check(self, stack: LayerStack, fitted: LensDescription) -> None:
        model = describe(stack, fitted.model)
        if model == fitted:
            return
        if (model.n_layers, model.width) == (fitted.n_layers, fitted.width):
            reason = "whose final norm and head are not this model's"
        else:
            reason = f"of {fitted.n_layers} layers and width {fitted.width}, not {model.n_layers} and {model.width}"
        raise InputError(
            f"lens.path={self.path} was fitted to a {fitted.model} {reason}; fit a lens to this model with train.py "
            "probe=tuned_lens and the same model options, or use lens=logit"
        )
