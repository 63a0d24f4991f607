"""The one view of a language model that every measurement uses: embed, layers, norm, head.

The stack runs the model's own modules one layer at a time, so a measurement sees every state as it is made, holds only
what it needs, and can stop, resume or change the run at any layer. The arguments of a layer call (masks, rotary
positions) are the model's own: they are taken from a forward pass that is stopped where layer 1 would begin.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Protocol

import torch
from torch import Tensor, nn

from plmdepth.errors import InputError
from plmdepth.language_models.anatomy import Anatomy, Wiring
from plmdepth.language_models.attention_scores import AttentionScores, AttentionScoresRecorder
from plmdepth.language_models.spelling.spelling import Spelling, Tokens

Need = Literal["states", "contributions", "attention_scores"]


class NonFiniteStateError(ArithmeticError):
    """A layer's output holds NaN or infinity."""


@dataclass(frozen=True)
class LayerCall:
    """What a layer receives beside the state."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class LayerView:
    """One layer as it has just run. States and contributions are ``[batch, token, feature]``.

    Attributes:
        layer: l, from 1 to L.
        entering: ``h_{l-1}``, the stream that entered the layer.
        state: ``h_l``, the stream that left it.
        attention: ``a_l``, what attention added; None unless contributions are needed.
        mlp: ``m_l``, what the MLP added; None unless contributions are needed.
        wiring: what the MLP read.
        between: the norm between attention and MLP of a ``post_norm`` layer.
        attention_scores: of its self-attention, ``[batch, head, query token, key token]``; None unless they are needed.
            The stack keeps none of an earlier layer: an observer that keeps them all holds L of them.
    """

    layer: int
    entering: Tensor
    state: Tensor
    attention: Tensor | None
    mlp: Tensor | None
    wiring: Wiring
    between: Callable[[Tensor], Tensor] | None = None
    attention_scores: AttentionScores | None = None

    @property
    def mlp_input(self) -> Tensor:
        """What the MLP read: ``h_{l-1} + a_l``; ``h_{l-1}`` in a parallel block; after a norm in ``post_norm``."""
        if self.wiring == "parallel":
            return self.entering
        assert self.attention is not None
        stream = self.entering + self.attention
        return stream if self.between is None else self.between(stream)


class Observer(Protocol):
    """Something that watches a run layer by layer."""

    needs: frozenset[Need]

    def embedded(self, state: Tensor) -> None:
        """See ``h_0``, the embedding state."""

    def observe(self, view: LayerView) -> None:
        """See layer ``view.layer``."""


@dataclass
class _Contributions:
    """The latest outputs of the two out-projections of the running layer."""

    attention: Tensor | None = None
    mlp: Tensor | None = None


class _ReachedLayersError(Exception):
    """Carries the state and the call of layer 1 out of a forward pass."""

    def __init__(self, state: Tensor, call: LayerCall) -> None:
        self.state, self.call = state, call


@dataclass(frozen=True)
class LayerStack:
    """A frozen language model, taken apart.

    Attributes:
        module: the model; its parameters are frozen and it is in evaluation mode.
        anatomy: where its parts are.
        spelling: how it spells proteins.
        notes: what of its checkpoint is not read, for people.
    """

    module: nn.Module
    anatomy: Anatomy
    spelling: Spelling
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.module.eval().requires_grad_(False)

    @property
    def n_layers(self) -> int:
        """L, the number of layers."""
        return len(self.anatomy.layers)

    @property
    def width(self) -> int:
        """Features of the residual stream."""
        config: Any = self.module.config
        width: int = config.hidden_size
        return width

    @property
    def n_heads(self) -> int:
        """Attention heads a layer."""
        config: Any = self.module.config
        heads: int = config.num_attention_heads
        return heads

    @property
    def n_parameters(self) -> int:
        """Number of parameters of the whole model."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def embed(self, tokens: Tokens) -> tuple[Tensor, LayerCall]:
        """Return ``h_0`` ``[batch, token, feature]`` and the call that every layer receives."""
        handle = self.anatomy.layers[0].register_forward_pre_hook(_stop_here, with_kwargs=True)
        try:
            self.module(**self.anatomy.inputs(tokens))
        except _ReachedLayersError as reached:
            handed_on = self.anatomy.handed_on(reached.state) if self.anatomy.handed_on else {}
            return reached.state, LayerCall(reached.call.args, {**reached.call.kwargs, **handed_on})
        finally:
            handle.remove()
        raise RuntimeError("the model never called its first layer: the family's anatomy is wrong")

    def apply_layer(self, layer: int, state: Tensor, call: LayerCall) -> Tensor:
        """Return ``h_l`` for ``h_{l-1}``; ``layer`` counts from 1."""
        output = self.anatomy.layers[layer - 1](state, *call.args, **call.kwargs)
        return output[0] if isinstance(output, tuple) else output

    def run(self, tokens: Tokens, observers: Sequence[Observer] = ()) -> Tensor:
        """Run the whole stack under the eyes of the observers.

        Returns:
            ``h_L``, before the final norm, ``[batch, token, feature]``.

        Raises:
            NonFiniteStateError: a state holds NaN or infinity; the message names the layer.
        """
        state, call = self.embed(tokens)
        for observer in observers:
            observer.embedded(state)
        return self.resume(1, state, call, observers)

    def resume(self, first: int, state: Tensor, call: LayerCall, observers: Sequence[Observer] = ()) -> Tensor:
        """Run layers ``first``..L from ``state = h_{first-1}``; bit-equal to the same part of a full run.

        Returns:
            ``h_L``, before the final norm, ``[batch, token, feature]``.
        """
        wanted = any("contributions" in observer.needs for observer in observers)
        sums = [state.sum(dtype=torch.float32)]
        with self._recorded_contributions() if wanted else nullcontext(_Contributions()) as added:
            for layer in range(first, self.n_layers + 1):
                state = self._observed_layer(layer, state, call, added, observers)
                sums.append(state.sum(dtype=torch.float32))
        _check_finite(torch.stack(sums), first - 1)
        return state

    def _observed_layer(
        self, layer: int, entering: Tensor, call: LayerCall, added: _Contributions, observers: Sequence[Observer]
    ) -> Tensor:
        """Return ``h_l`` after the observers have seen the layer; its attention scores are given back on return."""
        wanted = any("attention_scores" in observer.needs for observer in observers)
        recorder = AttentionScoresRecorder()
        with recorder.recording() if wanted else nullcontext():
            state = self.apply_layer(layer, entering, call)
        between = self.anatomy.between[layer - 1] if self.anatomy.between else None
        scores = recorder.take() if wanted else None
        view = LayerView(layer, entering, state, added.attention, added.mlp, self.anatomy.wiring, between, scores)
        for observer in observers:
            observer.observe(view)
        return state

    def logits(self, state: Tensor) -> Tensor:
        """Read a state out as the last layer's would be: ``head(norm(h))``, ``[..., vocabulary]``.

        Raises:
            InputError: the model has no head.
        """
        if self.anatomy.head is None:
            raise InputError("this model predicts nothing by itself; choose a metric that needs no predictions")
        return self.anatomy.head(self.anatomy.norm(state))

    @contextmanager
    def _recorded_contributions(self) -> Iterator[_Contributions]:
        """Record what attention and MLP add, while the context is open."""
        added = _Contributions()
        scale = self.anatomy.residual_scale

        def record(part: str) -> Any:
            def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
                setattr(added, part, output if scale == 1 else output / scale)

            return hook

        def record_more(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            assert added.attention is not None
            added.attention = added.attention + (output if scale == 1 else output / scale)

        # A set: a block that is shared between layers gets one hook, and each layer reads its latest output.
        handles = [m.register_forward_hook(record("attention")) for m in set(self.anatomy.attention_outputs)]
        handles += [m.register_forward_hook(record_more) for m in set(self.anatomy.second_attention_outputs)]
        handles += [m.register_forward_hook(record("mlp")) for m in set(self.anatomy.mlp_outputs)]
        try:
            yield added
        finally:
            for handle in handles:
                handle.remove()


def _stop_here(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
    names = list(inspect.signature(module.forward).parameters)[1 : len(args)]  # the state is the first
    raise _ReachedLayersError(args[0], LayerCall((), dict(zip(names, args[1:], strict=True)) | kwargs))


def _check_finite(sums: Tensor, first: int) -> None:
    """Raise for the first state whose sum is not finite; ``sums[k]`` belongs to layer ``first + k``."""
    finite = torch.isfinite(sums).tolist()
    if not all(finite):
        layer = first + finite.index(False)
        raise NonFiniteStateError(f"the state after layer {layer} holds NaN or infinity; try model.dtype=float32")
