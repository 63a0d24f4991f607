"""Small models and batches for tests: every family in miniature, with weights large enough to matter."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from plmdepth.language_models.families.albert import ALBERT
from plmdepth.language_models.families.bert import BERT
from plmdepth.language_models.families.dplm import DPLM
from plmdepth.language_models.families.dplm2 import DPLM2
from plmdepth.language_models.families.esm1 import ESM1
from plmdepth.language_models.families.esm2 import ESM2
from plmdepth.language_models.families.esm3 import ESM3
from plmdepth.language_models.families.esmc import ESMC
from plmdepth.language_models.families.gpt2 import ProtGPT2
from plmdepth.language_models.families.progen2 import ProGen2
from plmdepth.language_models.families.prot_t5 import Ankh, ProtT5
from plmdepth.language_models.families.saprot import SaProt
from plmdepth.language_models.families.t5 import T5
from plmdepth.language_models.families.xlnet import XLNet
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.spelling.spelling import Tokens
from plmdepth.language_models.weights import load_stack
from plmdepth.objectives.autoregressive import Autoregressive
from plmdepth.objectives.masked import Masked
from plmdepth.objectives.objective import Example
from plmdepth.proteins.protein import Backbone, Protein

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


def _like_esm2(family: type[ESM2], name: str, **fields: object) -> LanguageModel:
    """Return a model of ESM-2's architecture in the size of the miniature of ESM-2."""
    return family(**{**asdict(MODELS["esm2"]), "name": name, "family": name, **fields})


def _t5(family: type[T5], name: str, **fields: object) -> LanguageModel:
    """Return a miniature of a T5 whose heads are narrower than the width over their number."""
    sizes: dict[str, Any] = {"n_layers": 6, "n_decoder_layers": 6, "width": 32, "n_heads": 4, "key_width": 6}
    shared = {"objective": "masked", "mlp_width": 48, "max_length": 128, "weights": "random", "attention": "eager"}
    return family(**{**sizes, **shared, "name": name, "family": name, **fields})


def _post_norm(family: type[LanguageModel], name: str, **fields: object) -> LanguageModel:
    """Return a miniature of a family whose layers end in a norm."""
    sizes: dict[str, Any] = {"n_layers": 6, "width": 32, "n_heads": 4, "max_length": 128, "vocabulary": "protein"}
    shared = {"objective": "masked", "weights": "random", "attention": "eager"}
    return family(**{**sizes, **shared, "name": name, "family": name, **fields})


_ESM3 = ESM3(
    name="esm3",
    family="esm3",
    objective="masked",
    n_layers=6,
    width=32,
    n_heads=4,
    n_geometric_heads=4,
    max_length=128,
    weights="random",
    attention="eager",
)
RELATIVES: dict[str, LanguageModel] = {
    "prot_bert": _post_norm(BERT, "prot_bert", n_positions=130),
    "prot_albert": _post_norm(ALBERT, "prot_albert", n_positions=130, embedding_width=16, activation="gelu_new"),
    "prot_xlnet": _post_norm(XLNet, "prot_xlnet"),
    "prot_t5": _t5(ProtT5, "prot_t5"),
    "prot_t5_encoder": _t5(ProtT5, "prot_t5_encoder", part="encoder"),
    "ankh": _t5(
        Ankh,
        "ankh",
        n_layers=3,
        n_decoder_layers=4,
        key_width=3,
        mlp_width=16,
        mlp="gated-gelu",
        position_buckets=16,
        scaled_head=False,
    ),
    "protgpt2": ProtGPT2(
        name="protgpt2",
        family="protgpt2",
        objective="autoregressive",
        n_layers=6,
        width=32,
        n_heads=4,
        max_length=128,
        weights="random",
        attention="eager",
    ),
    "progen2_reverse": replace(MODELS["progen2"], direction="reverse"),
    "esm1b": _like_esm2(ESM1, "esm1b", embedding_norm=True),
    "esm1v": _like_esm2(ESM1, "esm1v", embedding_norm=False),
    "dplm": _like_esm2(DPLM, "dplm", objective="diffusion"),
    "dplm2": _like_esm2(DPLM2, "dplm2", objective="diffusion"),
    "dplm2_structure": _like_esm2(DPLM2, "dplm2", objective="diffusion", modality="structure"),
    "dplm2_both": _like_esm2(DPLM2, "dplm2", objective="diffusion", modality="both"),
    "dplm2_apart": _like_esm2(DPLM2, "dplm2", objective="diffusion", modality="both", cross_modality=False),
    "saprot": _like_esm2(SaProt, "saprot"),
    "esmc": ESMC(
        name="esmc",
        family="esmc",
        objective="masked",
        n_layers=6,
        width=32,
        n_heads=4,
        max_length=128,
        weights="random",
        attention="eager",
    ),
    "esm3": _ESM3,
    "esm3_structure": replace(_ESM3, modality="structure"),
    "esm3_both": replace(_ESM3, modality="both"),
}
"""Families whose stacks are held to their own forward pass; those of `MODELS` are measured in every other test too."""
ALL = MODELS | RELATIVES


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
