"""Logit lens: what the model would predict if it stopped at each layer (nostalgebraist 2020; Siji et al. 2026)."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from plmdepth.language_models.layer_stack import LayerStack, LayerView, Need
from plmdepth.metrics.averages import segment_mean
from plmdepth.metrics.effective_depth import first_layer_above, first_layer_below_half
from plmdepth.metrics.lens import Lens, PlainLens
from plmdepth.metrics.metric import BatchObserver, Curves, ObservingMetric
from plmdepth.metrics.quantity import Quantity
from plmdepth.objectives.objective import Example

Vocabulary = Literal["amino_acids", "full"]
_TOP = 5
_OVERLAP_THRESHOLD = 0.2  # Csordas et al. 2025

_OVERLAP, _NATS = "overlap with the final prediction", "nats per residue"
QUANTITIES = tuple(
    Quantity("logit_lens", name, unit, label, bounds=bounds, panel=panel, heading=heading)
    for name, unit, label, bounds, panel, heading in (
        ("kl_to_final", "nats", "KL to the final prediction", (0, torch.inf), "", "KL\n(nats)"),
        ("top1_overlap", "", "top-1 overlap with the final prediction", (0, 1), _OVERLAP, ""),
        ("top5_overlap", "", "top-5 overlap with the final prediction", (0, 1), _OVERLAP, "top-5\nsame"),
        ("entropy", "nats", "entropy of the prediction", (0, torch.inf), _NATS, ""),
        ("cross_entropy", "nats/residue", "loss against the true residue", (0, torch.inf), _NATS, "loss\n(nats)"),
        ("accuracy", "", "share of residues predicted right", (0, 1), "", "share\nright"),
    )
)


@dataclass(frozen=True)
class LogitLens(ObservingMetric):
    """Read every state with the model's own norm and head: ``p_l = softmax(head(norm(h_l)))`` on the targets.

    Attributes:
        vocabulary: ``amino_acids`` renormalises over the twenty amino acids, or over all codes where structure tokens
            are predicted; ``full`` keeps every token.
        lens: how states are read: as they are, or translated first by a tuned lens.
    """

    name: ClassVar[str] = "logit_lens"
    title: ClassVar[str] = "What the model would predict if it stopped at a layer"
    vocabulary: Vocabulary = "amino_acids"
    lens: Lens = field(default_factory=PlainLens)

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The six curves of the lens, over layers 0..L."""
        return QUANTITIES

    def observer(self, stack: LayerStack, example: Example) -> BatchObserver:
        """Return what reads the targets of one batch at every layer."""
        tokens = stack.spelling.amino_acids.to(example.labels.device) if self.vocabulary == "amino_acids" else None
        return _LensObserver(stack, self.lens, example, tokens)

    def scalars(self, curves: Curves) -> dict[str, Tensor]:
        """Return ``ed_kl``, ``ed_overlap`` and the last layer's cross-entropy and accuracy."""
        return {
            "ed_kl": first_layer_below_half(curves["kl_to_final", ""]),
            "ed_overlap": first_layer_above(curves["top5_overlap", ""], _OVERLAP_THRESHOLD),
            "cross_entropy_final": curves["cross_entropy", ""][..., -1],
            "accuracy_final": curves["accuracy", ""][..., -1],
        }


class _LensObserver:
    needs: frozenset[Need] = frozenset({"states"})

    def __init__(self, stack: LayerStack, lens: Lens, example: Example, tokens: Tensor | None) -> None:
        self._stack, self._lens, self._tokens = stack, lens, tokens
        self._rows = example.scored.nonzero(as_tuple=True)
        self._n_sequences = len(example.targets)
        self._labels = _positions_in(example.labels[self._rows], tokens)
        self._log_probabilities: list[Tensor] = []

    def embedded(self, state: Tensor) -> None:
        self._read(0, state)

    def observe(self, view: LayerView) -> None:
        self._read(view.layer, view.state)

    def values(self) -> Tensor:
        statistics = lens_statistics(torch.stack(self._log_probabilities), self._labels)
        return segment_mean(statistics, self._rows[0], self._n_sequences).permute(2, 0, 1)

    def _read(self, layer: int, state: Tensor) -> None:
        logits = self._lens.logits(self._stack, layer, state[self._rows])
        if self._tokens is not None:
            logits = logits[:, self._tokens]
        self._log_probabilities.append(logits.float().log_softmax(-1))


def lens_statistics(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """Compare the prediction of every layer with the last layer's and with the truth.

    Args:
        log_probabilities: ``[layer, target, token]``, the last layer last.
        labels: index of the true token, ``[target]``.

    Returns:
        ``[quantity, layer, target]`` in the order of `QUANTITIES`: KL(p_l || p_L) in nats, top-1 and top-5 overlap with
        p_L, entropy in nats, cross-entropy in nats, and whether the most likely token is the true one.
    """
    probabilities, final = log_probabilities.exp(), log_probabilities[-1]
    top = log_probabilities.topk(_TOP, dim=-1).indices
    shared = (top[..., :, None] == top[-1][:, None, :]).any(-1)
    truth = labels.expand(len(log_probabilities), -1)[..., None]
    return torch.stack(
        [
            # Rounding can leave a few 1e-8 below zero; a divergence cannot be.
            (probabilities * (log_probabilities - final)).sum(-1).clamp(min=0),
            (top[..., 0] == top[-1, :, 0]).float(),
            shared.float().mean(-1),
            -(probabilities * log_probabilities).sum(-1),
            -log_probabilities.gather(-1, truth)[..., 0],
            (top[..., 0] == labels).float(),
        ]
    )


def _positions_in(labels: Tensor, tokens: Tensor | None) -> Tensor:
    """Return the index of each label among the tokens that are kept."""
    if tokens is None:
        return labels
    lookup = torch.full((int(tokens.max()) + 1,), -1, device=tokens.device)
    lookup[tokens] = torch.arange(len(tokens), device=tokens.device)
    return lookup[labels]
