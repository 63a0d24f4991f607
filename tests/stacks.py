"""Small models and batches for tests: every family in miniature, with weights large enough to matter."""

import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch

from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.spelling.spelling import Tokens
from plmdepth.language_models.weights import load_stack
from plmdepth.objectives.autoregressive import Autoregressive
from plmdepth.objectives.masked import Masked
from plmdepth.objectives.objective import Example
from plmdepth.proteins.protein import Backbone, Protein
from tests.family_case import FamilyCase
from tests.language_models import families


@cache
def cases() -> tuple[FamilyCase, ...]:
    """Return `FAMILY` of every file of tests/language_models/families that has one.

    Raises:
        ImportError: such a file is being imported right now, and imports what asks for all families.
    """
    found = []
    for each in pkgutil.iter_modules(families.__path__, f"{families.__name__}."):
        module = import_module(each.name)
        if hasattr(module, "FAMILY"):
            found.append(module.FAMILY)
        elif getattr(module.__spec__, "_initializing", False) and "FamilyCase" in vars(module):
            raise ImportError(f"{each.name} asks for all families before it has said what its own is")
    return tuple(found)


class Miniatures(Mapping[str, LanguageModel]):
    """Models by name, found on first use: the files that declare them import this one."""

    def __init__(self, part: Callable[[FamilyCase], Mapping[str, LanguageModel]]) -> None:
        self._part = part

    def _found(self) -> dict[str, LanguageModel]:
        return {name: model for case in cases() for name, model in self._part(case).items()}

    def __getitem__(self, name: str) -> LanguageModel:
        return self._found()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found())

    def __len__(self) -> int:
        return len(self._found())


ALL = Miniatures(lambda case: case.miniatures)
"""Every miniature: each is held to its own forward pass."""
VARIANTS = Miniatures(lambda case: case.variants)
"""What they lack, for `tests.metrics.test_every_family`."""
EVERYWHERE = Miniatures(lambda case: {name: case.miniatures[name] for name in case.everywhere})
"""Those that are measured in every other test too."""


HEADLESS = Miniatures(lambda case: {name: case.miniatures[name] for name in case.headless})
"""Those that predict nothing."""


def case_of(name: str) -> FamilyCase:
    """Return the family of a miniature or a variant."""
    return next(case for case in cases() if name in case.miniatures or name in case.variants)


def with_structure(identifier: str, sequence: str) -> Protein:
    """Return a protein with made-up structure tokens and coordinates; its third residue is not resolved."""
    codes = tuple(997 * k % 8192 for k in range(len(sequence)))
    return Protein(identifier, sequence, structure_tokens=codes, backbone=walk(len(sequence)))


def walk(length: int, seed: int = 0) -> Backbone:
    """Return a backbone in a random walk of 3.8 Angstrom a step; its third residue is not resolved."""
    generator = np.random.default_rng([seed, length])
    steps, first, last = (
        each / np.linalg.norm(each, axis=1)[:, None] for each in generator.normal(size=(3, length, 3))
    )
    alpha = 3.8 * steps.cumsum(0)
    backbone = np.stack([alpha + 1.46 * first, alpha, alpha + 1.52 * last], axis=1).astype(np.float32)
    backbone[2:3] = np.nan
    return backbone


PROTEINS = (
    with_structure("long", "MKTVRQERLKSIVRILERSKEPVSGAQLAEELSVSRQVIVQDIAYLRSLGYNIVATPRGYVLAGG"),
    with_structure("short", "MADEEKLPPGWEK"),
    with_structure("rare", "MXUACDEFGHIKLMNPQRSTVWYBZ"),
)


def stack_of(family: str, **changes: object) -> LayerStack:
    """Return a miniature whose weights are five times the usual size, so that every layer does something."""
    stack = load_stack(replace({**ALL, **VARIANTS}[family], **changes), seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in stack.module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return stack


def own_forward(stack: LayerStack, tokens: Tokens, **options: Any) -> Any:
    """Return what the model's own forward pass gives."""
    with torch.no_grad():
        return stack.module(**stack.anatomy.inputs(tokens), **options)


def example_for(stack: LayerStack, proteins: tuple[Protein, ...] = PROTEINS, seed: int = 0) -> Example:
    """Return a padded batch as the stack's own objective presents it."""
    objective = Autoregressive() if stack.spelling.mask is None else Masked(0.3)
    return objective.present(proteins, stack.spelling, seed)
