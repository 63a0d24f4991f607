"""What a model was trained to do: how an input is corrupted, and which logit row predicts which residue."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from plmdepth.language_models.spelling.spelling import Spelling, Tokens
from plmdepth.proteins.protein import CANONICAL, Backbone, Protein


@dataclass(frozen=True)
class Example:
    """A batch as an objective presents it.

    Attributes:
        tokens: what the model reads.
        labels: token id that the logits of this row should predict, ``[batch, token]``; meaningful where scored.
        scored: true for rows whose logits predict a target, ``[batch, token]``.
        context: true for residues that are shown to the model, ``[batch, token]``.
        targets: per sequence, the 0-based positions of the residues that are predicted, in the order of their rows.
        weights: per sequence, the weight of its loss, ``[batch]``.
        scopes: per sequence, which of the objective's scopes it belongs to; none where it has no scopes.
        backbones: per sequence, its coordinates in the order of the protein; for measurements, no model reads these.
        shown: the tokens with nothing hidden; None where the model reads them so anyway, or cannot.
    """

    tokens: Tokens
    labels: Tensor
    scored: Tensor
    context: Tensor
    targets: tuple[tuple[int, ...], ...]
    weights: Tensor
    scopes: tuple[str, ...] = ()
    backbones: tuple[Backbone | None, ...] = ()
    shown: Tokens | None = None

    def whole(self) -> "Example":
        """Return the batch as the model reads it when nothing is hidden; a decoder reads what it is given."""
        return self if self.shown is None else replace(self, tokens=self.shown)

    def sequence(self, row: int) -> "Example":
        """Return one sequence alone, without its padding."""
        only, kept = slice(row, row + 1), self.tokens.attended[row]
        rows = {name: getattr(self, name)[only, kept] for name in ("labels", "scored", "context")}
        same = {name: getattr(self, name)[only] for name in ("targets", "weights", "scopes", "backbones")}
        shown = None if self.shown is None else self.shown.sequence(row)
        return Example(tokens=self.tokens.sequence(row), shown=shown, **same, **rows)

    def to(self, device: torch.device | str) -> "Example":
        """Return the batch on another device."""
        move = {name: getattr(self, name).to(device) for name in ("labels", "scored", "context", "weights")}
        shown = None if self.shown is None else self.shown.to(device)
        return replace(self, tokens=self.tokens.to(device), shown=shown, **move)


class Objective(Protocol):
    """Presents proteins to a model. Its draws depend on (seed, sequence) alone."""

    @property
    def name(self) -> Literal["autoregressive", "masked", "diffusion", "whole"]:
        """The objective's name."""

    @property
    def scopes(self) -> tuple[str, ...]:
        """Names of the kinds of presentation that have curves of their own, the noise levels say; often none."""

    def present(self, proteins: Sequence[Protein], spelling: Spelling, seed: int) -> Example:
        """Return the batch that the model reads and what it should predict."""

    def for_training(self) -> "Objective":
        """Return the objective over everything that a model meets in training, the whole noise schedule say."""


def canonical_positions(sequence: str) -> list[int]:
    """Return the 0-based positions of the twenty amino acids: only these can be targets."""
    return [position for position, letter in enumerate(sequence) if letter in CANONICAL]


def hide_targets(
    proteins: Sequence[Protein], targets: Sequence[Sequence[int]], spelling: Spelling, weights: Sequence[float]
) -> Example:
    """Hide the targets as the family does."""
    tokens = spelling.spell(proteins)
    hidden = torch.zeros_like(tokens.residues)
    for row, positions in enumerate(targets):
        hidden[row, spelling.tokens_of_residues(tokens, row)[list(positions)]] = True
    presented = spelling.present(tokens, hidden)
    return Example(
        tokens=presented.tokens,
        labels=presented.labels,
        scored=presented.scored,
        context=presented.context,
        targets=tuple(spelling.in_order(positions) for positions in targets),
        weights=torch.tensor(weights, dtype=torch.float32),
        shown=tokens if presented.tokens.source is None else None,
    )
