"""What a family's own test file says of it: `FAMILY`, which `tests.stacks` finds there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from plmdepth.language_models.language_model import LanguageModel

SIZE: dict[str, Any] = {
    "n_layers": 6,
    "width": 32,
    "n_heads": 4,
    "max_length": 128,
    "weights": "random",
    "attention": "eager",
}
"""The size of every miniature, as far as a family does not need another."""


@dataclass(frozen=True, kw_only=True)
class FamilyCase:
    """A family as tests need it.

    Attributes:
        miniatures: small models of it, by the names that tests call them.
        parameters: how many the whole module of each option of ``conf/model`` has; tied ones count once.
        values: how the names of the modules end that make the values of attention, and as the last of how many parts of
            their output; None where they are not a module's output.
        variants: more miniatures, for `tests/metrics/test_every_family.py` alone.
        everywhere: names of those that are measured in the tests of every metric too.
        fast: names of those that represent a kind: in `test_every_family.py` they are not slow.
        headless: names of those that predict nothing.
        in_double: names of those whose losses are too large for single precision there.
        norms: of a post-norm family, the norm after attention and the norm after the MLP of a layer's module. Its
            contributions do not add up to the change of the stream, and none of its layers can be dead.
    """

    miniatures: Mapping[str, LanguageModel]
    parameters: Mapping[str, int]
    values: tuple[str, int] | None
    variants: Mapping[str, LanguageModel] = field(default_factory=dict)
    everywhere: tuple[str, ...] = ()
    fast: tuple[str, ...] = ()
    headless: tuple[str, ...] = ()
    in_double: tuple[str, ...] = ()
    norms: Callable[[Any], tuple[Any, Any]] | None = None
