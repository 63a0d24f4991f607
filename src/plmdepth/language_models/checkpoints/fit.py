"""Whether the tensors of a checkpoint are those of a model, and what it holds or lacks beside."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from plmdepth.errors import InputError
from plmdepth.language_models.language_model import LanguageModel

_T = TypeVar("_T")
_SHOWN = 3
_CONSTANT = re.compile(
    r"(^|\.)((cross)?attn(ention)?\.(masked_)?bias|crossattention\.(masked_)?bias|attention\.masked_bias|position_ids|"
    r"(original_)?inv_freq)$"
)
"""Buffers that follow from the configuration, which older files hold: causal masks, positions, rotary frequencies."""
_HEAD = re.compile(
    r"(^|_)(heads?|classifier|classification|regression|score|cls|logits|qa_outputs|predictions|summary|pooler)(_|$)"
)
"""What heads are called that are not language models."""


@dataclass(frozen=True)
class Loaded:
    """A module with the weights of a checkpoint.

    Attributes:
        module: the module.
        has_head: the checkpoint has the head that predicts residues; without it the module's is untrained.
        notes: what of the checkpoint is not read, for people.
    """

    module: PreTrainedModel
    has_head: bool = True
    notes: tuple[str, ...] = ()


def fitted(model: LanguageModel, module: Any, place: Path, missing: Iterable[str], unknown: Iterable[str]) -> Loaded:
    """Judge what a checkpoint lacks and what it holds beside.

    A head that is missing as a whole is a model without predictions. Heads of other tasks, poolers and constant buffers
    are not read. Everything else is an error.

    Args:
        model: the model that it should be.
        module: the module that was loaded.
        place: where the checkpoint lies.
        missing: names of the module's tensors that the checkpoint lacks.
        unknown: names of the checkpoint's tensors that the module lacks.

    Raises:
        InputError: a tensor of the layers is missing, or one is not known.
    """
    missing = sorted(key for key in missing if "contact_head" not in key)
    has_head = not missing or not _is_whole_head(module, model.anatomy(module).head, missing)
    if missing and has_head:
        raise InputError(f"{_not_fitting(model, place, 'missing', missing)}{_hint(model, missing)}")
    own = {*_parents(module.state_dict())}
    beside = sorted({_beside(name, own) for name in unknown if not _CONSTANT.search(name)})
    strange = [name for name in beside if not _is_other_head(name, module)]
    if strange:
        named = [key for key in sorted(unknown) if any(f"{key}.".startswith(f"{name}.") for name in strange)]
        raise InputError(_not_fitting(model, place, "unknown", named))
    notes = [] if has_head else ["the weights hold no language-model head: what needs predictions is refused"]
    notes += [f"heads of the checkpoint that are not read: {', '.join(beside)}"] if beside else []
    return Loaded(module, has_head, tuple(notes))


def check_shapes(model: LanguageModel, place: Path, mismatched: Sequence[str]) -> None:
    """Refuse tensors of another shape.

    Raises:
        InputError: there is one.
    """
    if wrong := sorted(key for key in mismatched if "contact_head" not in key):
        raise InputError(_not_fitting(model, place, "of another shape", wrong))


def without_prefix(state: Mapping[str, _T], n_known: Callable[[Mapping[str, _T]], int]) -> dict[str, _T]:
    """Return a checkpoint without the name that a wrapper put before every tensor: ``module.``, ``_orig_mod.``.

    Args:
        state: the tensors by name.
        n_known: how many of the tensors have names of the model. A prefix goes only where more have without it.
    """
    best = dict(state)
    stripped = best
    while len({name.partition(".")[0] for name in stripped}) == 1 and all("." in name for name in stripped):
        stripped = {name.partition(".")[2]: value for name, value in stripped.items()}
        if n_known(stripped) > n_known(best):
            best = stripped
    return best


def own_names(module: PreTrainedModel) -> frozenset[str]:
    """Return the names of a module's tensors, and those that a file of its base model has, without the prefix."""
    names, prefix = list(module.state_dict()), f"{module.base_model_prefix}."
    return frozenset((*names, *(name.removeprefix(prefix) for name in names)))


def check_finite(model: LanguageModel, module: nn.Module, place: Path) -> None:
    """Refuse weights that are not numbers; layers that lie on disk are not looked at.

    Raises:
        InputError: a tensor holds NaN or infinity.
    """
    wrong = [name for name, tensor in module.named_parameters() if not tensor.is_meta and not _is_finite(tensor)]
    if wrong:
        remedy = "; try model.dtype=float32" if model.dtype == "float16" else ""
        raise InputError(f"the weights in {place} hold NaN or infinity: {_shown(wrong)}{remedy}")


def _is_finite(tensor: Tensor) -> bool:
    """Say whether all is finite; the sum alone tells, in one pass and without a copy, unless it overflows itself."""
    return math.isfinite(tensor.detach().sum(dtype=torch.float32)) or bool(torch.isfinite(tensor).all())


def _is_whole_head(module: PreTrainedModel, head: Any, missing: Sequence[str]) -> bool:
    """Say whether what is missing is the head, all of it, but for what it shares with the embedding."""
    if not isinstance(head, nn.Module):
        return False
    inside = {id(parameter) for parameter in head.parameters()}
    names = module.named_parameters(remove_duplicate=False)
    outside = {id(p) for name, p in names if not any(f"{name}.".startswith(each) for each in _places(module, head))}
    absent = {id(parameter) for name, parameter in module.named_parameters(remove_duplicate=False) if name in missing}
    return absent == inside - outside


def _places(module: PreTrainedModel, head: nn.Module) -> list[str]:
    """Return the names of the modules that a head is, or that it wraps."""
    parts = {id(part) for part in head.modules()}
    return [f"{name}." for name, part in module.named_modules() if id(part) in parts]


def _is_other_head(name: str, module: PreTrainedModel) -> bool:
    """Say whether what the architecture lacks is a head: in a place of heads or called like one, or a pooler."""
    first, _, rest = name.partition(".")
    last = name.rpartition(".")[2]
    if last in ("pooler", "contact_head"):
        return True
    inside = {f"{module.base_model_prefix}", "encoder", "decoder", "shared"}
    return (first not in inside and bool(_HEAD.search(first))) or (bool(rest) and first in ("cls", "heads"))


def _beside(name: str, own: set[str]) -> str:
    """Return the shortest beginning of a name that is no beginning of a name of the architecture."""
    parts = name.split(".")
    beginnings = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
    return next((each for each in beginnings if each not in own), name)


def _parents(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        parts = name.split(".")
        yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _hint(model: LanguageModel, missing: Sequence[str]) -> str:
    other = getattr(model, "part", None) == "decoder" and all(k.startswith(("decoder.", "lm_head.")) for k in missing)
    return "; it holds an encoder alone: use model.part=encoder" if other else ""


def _not_fitting(model: LanguageModel, place: Path, kind: str, keys: Sequence[str]) -> str:
    return f"the weights in {place} do not fit {model.name}: {kind}: {_shown(keys)}"


def _shown(keys: Sequence[str]) -> str:
    return ", ".join(keys[:_SHOWN]) + (f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")
