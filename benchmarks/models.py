"""What benchmarks measure: untrained models of several shapes, proteins of random letters, the model's own forward."""

import torch
from torch import Tensor

from plmdepth.language_models.families.esm2 import ESM2
from plmdepth.language_models.families.progen2 import ProGen2
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack
from plmdepth.objectives.autoregressive import Autoregressive
from plmdepth.objectives.masked import Masked
from plmdepth.objectives.objective import Example
from plmdepth.proteins.protein import CANONICAL, Protein

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = {"12 layers x 480": (12, 480, 8), "30 layers x 640": (30, 640, 10)}
if DEVICE == "cuda":
    SHAPES["33 layers x 1280"] = (33, 1280, 20)
_FAMILIES = {"masked": (ESM2, "sdpa"), "autoregressive": (ProGen2, "eager")}


def stack_of(objective: str, n_layers: int, width: int, n_heads: int) -> LayerStack:
    """Return an untrained model of this shape: ESM-2's blocks, or ProGen2's."""
    family, attention = _FAMILIES[objective]
    size = {"n_layers": n_layers, "width": width, "n_heads": n_heads, "attention": attention}
    model = family(name="bench", family="bench", objective=objective, max_length=1022, weights="random", **size)
    stack = load_stack(model, 0)
    stack.module.to(DEVICE)
    return stack


def example_of(stack: LayerStack, length: int) -> Example:
    """Return one protein of random letters as the model's own objective presents it."""
    drawn = torch.randint(20, (length,), generator=torch.Generator().manual_seed(0)).tolist()
    objective = Autoregressive() if stack.anatomy.causal else Masked()
    protein = Protein("random", "".join(CANONICAL[letter] for letter in drawn))
    return objective.present([protein], stack.spelling, seed=0).to(torch.device(DEVICE))


def forward(stack: LayerStack, example: Example) -> Tensor:
    """Run the model's own forward pass and return the logits."""
    tokens = example.tokens
    return stack.module(input_ids=tokens.ids, attention_mask=tokens.attended.long(), use_cache=False).logits
