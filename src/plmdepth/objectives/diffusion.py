"""Discrete diffusion: residues are hidden at many noise levels, up to all of them (DPLM, Wang et al. 2024)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from plmdepth.errors import InputError
from plmdepth.language_models.spelling.spelling import Spelling
from plmdepth.objectives.objective import Example, canonical_positions, hide_targets
from plmdepth.proteins.protein import Protein
from plmdepth.randomness import keyed_generator

Weighting = Literal["linear", "constant"]
_STEPS = 500  # DPLM's noise schedule
_MOST_SCOPES = 20


@dataclass(frozen=True)
class Diffusion:
    """Draw one noise level for each protein; hide each canonical residue with that probability, at least one.

    With several levels, up to 20, each has curves of its own, over the proteins that drew it. With a single level every
    protein is measured at it, and what one level hides, each higher level hides too. So a sweep over single levels,
    ``objective.noise_levels=[0.1],[0.5],[0.9]``, gives curves of the same proteins at each.

    Attributes:
        noise_levels: the levels to draw from, each in (0, 1].
        weighting: how the loss of a protein at level ``s = t / 500`` counts in training: ``linear`` is DPLM's
            ``(500 - (t - 1)) / 500``, less the more is hidden; ``constant`` is 1.
    """

    name: ClassVar[Literal["diffusion"]] = "diffusion"
    noise_levels: Sequence[float] = (0.2, 0.4, 0.6, 0.8)
    weighting: Weighting = "linear"

    def __post_init__(self) -> None:
        if not self.noise_levels or not all(0 < level <= 1 for level in self.noise_levels):
            raise InputError(
                f"objective.noise_levels must be a list of numbers above 0 and at most 1, got {list(self.noise_levels)}"
            )

    @property
    def scopes(self) -> tuple[str, ...]:
        """The levels, the lowest first; none if there is one alone, or more than 20."""
        levels = sorted(set(self.noise_levels))
        return tuple(_scope(level) for level in levels) if 1 < len(levels) <= _MOST_SCOPES else ()

    def present(self, proteins: Sequence[Protein], spelling: Spelling, seed: int) -> Example:
        """Return the noised batch."""
        drawn = [self.draw(protein.sequence, seed) for protein in proteins]
        weights = [self._weight(level) for level, _ in drawn]
        example = hide_targets(proteins, [targets for _, targets in drawn], spelling, weights)
        return replace(example, scopes=tuple(_scope(level) for level, _ in drawn) if self.scopes else ())

    def for_training(self) -> Self:
        """Return the objective over the whole noise schedule, t / 500 for t = 1..500."""
        return replace(self, noise_levels=tuple(step / _STEPS for step in range(1, _STEPS + 1)))

    def draw(self, sequence: str, seed: int) -> tuple[float, list[int]]:
        """Return the noise level of a sequence and its 0-based target positions, ascending."""
        generator = keyed_generator(seed, "targets", sequence)
        level = float(generator.choice(sorted(self.noise_levels)))
        canonical = canonical_positions(sequence)
        if not canonical:
            return level, []
        uniform = generator.random(len(canonical))
        hidden = uniform < max(level, uniform.min() + 1e-12)
        return level, [position for position, is_hidden in zip(canonical, hidden, strict=True) if is_hidden]

    def _weight(self, level: float) -> float:
        return 1 - level + 1 / _STEPS if self.weighting == "linear" else 1.0


def _scope(level: float) -> str:
    return f"noise_level={level:g}"
