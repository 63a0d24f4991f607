"""Small models and batches for tests: every family in miniature, with weights large enough to matter."""

from dataclasses import replace
from typing import Any

import torch

from plmdepth.language_models.families.esm2 import ESM2
from plmdepth.language_models.families.progen2 import ProGen2
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.spelling import Tokens
from plmdepth.language_models.weights import load_stack
from plmdepth.objectives.autoregressive import Autoregressive
from plmdepth.objectives.masked import Masked
from plmdepth.objectives.objective import Example
from plmdepth.proteins.protein import Protein

MODELS: dict[str, LanguageModel] = {
    "esm2": ESM2(
        name="esm2",
        family="esm2",
        objective="masked",
        n_layers=6,
        width=32,
        n_heads=4,
        max_length=128,
        weights="random",
        attention="eager",
    ),
    "progen2": ProGen2(
        name="progen2",
        family="progen2",
        objective="autoregressive",
        n_layers=6,
        width=32,
        n_heads=4,
        rotary_width=8,
        max_length=128,
        weights="random",
        attention="eager",
    ),
}
RELATIVES: dict[str, LanguageModel] = {}
"""Families whose stacks are held to their own forward pass; those of `MODELS` are measured in every other test too."""
ALL = MODELS | RELATIVES

PROTEINS = (
    Protein("long", "MKTVRQERLKSIVRILERSKEPVSGAQLAEELSVSRQVIVQDIAYLRSLGYNIVATPRGYVLAGG"),
    Protein("short", "MADEEKLPPGWEK"),
    Protein("rare", "MXUACDEFGHIKLMNPQRSTVWYBZ"),
)


def stack_of(family: str, **changes: object) -> LayerStack:
    """Return a miniature whose weights are five times the usual size, so that every layer does something."""
    stack = load_stack(replace(ALL[family], **changes), seed=1)
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
