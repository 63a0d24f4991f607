"""A model that stops at a layer, as a folder that transformers opens by itself."""

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from plmdepth.errors import InputError
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack, LayerView, Need
from plmdepth.language_models.spelling.spelling import Tokens

TOLERANCE = 1e-5
"""Largest difference of a reloaded state, relative to the largest state."""

_READ_BACK = """
import json, sys, torch
from pathlib import Path
from safetensors.torch import load_file, save_file
import transformers
folder, inputs, outputs = map(Path, sys.argv[1:4])
load = getattr(transformers, json.loads((folder / "config.json").read_text())["architectures"][0])
model = load.from_pretrained(folder, dtype=torch.float32).eval()
with torch.no_grad():
    found = model(**load_file(inputs), output_hidden_states=True)
save_file({"norm": found.last_hidden_state.contiguous(), "raw": found.hidden_states[-1].clone()}, outputs)
"""


def check_exportable(model: LanguageModel, stack: LayerStack, layer: int) -> None:
    """Refuse a model that transformers has no class for, or whose states depend on more than the layers below.

    Raises:
        InputError: it is one, or there is no such layer.
    """
    if not 1 <= layer <= stack.n_layers:
        raise InputError(f"there is no layer {layer} to stop at: {model.name} has 1 to {stack.n_layers}")
    if _published_class(stack.module) is None:
        raise InputError(
            f"export: transformers has no class for {model.name}, so no folder of it opens without this package"
        )
    if getattr(model, "part", "encoder") == "decoder":
        raise InputError(f"export: the decoder of {model.name} needs its encoder; use model.part=encoder")


def truncated(model: LanguageModel, stack: LayerStack, layer: int) -> PreTrainedModel:
    """Return the layers 1..``layer`` of a model with its embedding and its final norm, and without its head.

    Where sub-blocks are divided by a scale that follows from the number of layers (ESM-C), the out-projections are
    multiplied by the ratio of both scales, so that the states stay as they are.

    Args:
        model: what the stack is of.
        stack: the whole model.
        layer: the last layer to keep, from 1.

    Raises:
        InputError: as `check_exportable`.
    """
    check_exportable(model, stack, layer)
    whole: Any = stack.module
    config = deepcopy(whole.config)
    config.num_hidden_layers = layer
    config.tie_last_hidden_states = False  # hidden_states[-1] is then h_l, and last_hidden_state is norm(h_l)
    shorter: Any = type(whole)(config)
    known = whole.state_dict()
    # ESM's contact head reads the attention of all layers: what is left of it is set to zero.
    fitting = {
        name: known[name] if known[name].shape == own.shape else own * 0 for name, own in shorter.state_dict().items()
    }
    shorter.load_state_dict(fitting)
    anatomy = model.anatomy(shorter)
    ratio = anatomy.residual_scale / stack.anatomy.residual_scale
    if ratio != 1:
        with torch.no_grad():
            for projection in {*anatomy.attention_outputs, *anatomy.mlp_outputs}:
                for parameter in projection.parameters():
                    parameter.mul_(ratio)
    body = shorter.base_model
    published = _published_class(whole)
    assert published is not None
    if type(body) is published:
        return body
    plain = published(config)
    plain.load_state_dict(body.state_dict())
    return plain


def write_truncated(
    model: LanguageModel, stack: LayerStack, layer: int, norm: bool, tokens: Tokens, folder: Path
) -> float:
    """Write the truncated model, open it again in a fresh process, and compare what it gives with the stack.

    Args:
        model: what the stack is of.
        stack: the whole model.
        layer: the last layer to keep.
        norm: whether ``last_hidden_state = norm(h_l)`` is to be read from the folder, or ``hidden_states[-1] = h_l``.
        tokens: what is compared on.
        folder: where the model is written.

    Returns:
        The largest difference at residues, relative to the largest value.

    Raises:
        InputError: the folder gives something else than the stack.
    """
    body = truncated(model, stack, layer)
    body.save_pretrained(folder)
    state = state_at(stack, tokens, layer)
    expected = (stack.anatomy.norm(state) if norm else state)[tokens.residues]
    inputs = {name: value for name, value in stack.anatomy.inputs(tokens).items() if isinstance(value, Tensor)}
    found = read_back(folder, inputs)["norm" if norm else "raw"][tokens.residues]
    difference = float((found - expected).abs().max() / expected.abs().max())
    if not difference <= TOLERANCE:
        remedy = "nothing is exported" if norm else "use export.norm=true"
        raise InputError(
            f"export: the folder of {model.name} gives other states than it (by {difference:.1e}); {remedy}"
        )
    return difference


def read_back(folder: Path, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return ``raw`` (``h_l``) and ``norm`` (``norm(h_l)``) as a fresh process reads them with transformers alone."""
    with TemporaryDirectory(prefix="plmdepth-") as place:
        given, outputs = Path(place) / "inputs.safetensors", Path(place) / "outputs.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in inputs.items()}, given)
        command = [sys.executable, "-c", _READ_BACK, str(folder), str(given), str(outputs)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise InputError(f"export: transformers cannot open {folder} ({reason}); nothing is exported")
        return load_file(outputs)


@torch.no_grad()
def state_at(stack: LayerStack, tokens: Tokens, layer: int) -> Tensor:
    """Return ``h_l``, ``[batch, token, feature]``."""
    observer = _At(layer)
    stack.run(tokens, [observer])
    assert observer.state is not None
    return observer.state


class _At:
    """Keeps the state of one layer."""

    needs: frozenset[Need] = frozenset({"states"})

    def __init__(self, layer: int) -> None:
        self._layer = layer
        self.state: Tensor | None = None

    def embedded(self, state: Tensor) -> None:
        if self._layer == 0:
            self.state = state

    def observe(self, view: LayerView) -> None:
        if view.layer == self._layer:
            self.state = view.state


def _published_class(module: nn.Module) -> type[PreTrainedModel] | None:
    """Return the class of transformers that a module's body is, or extends; None where it is one of this package."""
    body: Any = getattr(module, "base_model", module)
    found = next((each for each in type(body).__mro__ if each.__module__.startswith("transformers.models.")), None)
    return None if found is None or not _same_forward(type(body), found) else found


def _same_forward(kind: type, published: type) -> bool:
    """Say whether a class computes what the published one does: it may differ in what it loads alone."""
    return kind.forward is published.forward  # type: ignore[attr-defined]


def config_of(folder: Path) -> dict[str, Any]:
    """Return the configuration of a written folder."""
    content: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return content
