"""The checkpoints that fair-esm publishes: fetched where it keeps them, read as plain weights, renamed.

fair-esm keeps the weights of its contact head in a second file, ``NAME-contact-regression.pt``. It is not fetched: no
measurement reads contacts. In a local folder that holds both files it is read too; without it the contact head keeps
its random weights.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.checkpoints.files import first_line
from plmdepth.language_models.language_model import LanguageModel

_SOURCE = "https://dl.fbaipublicfiles.com/fair-esm/models/{name}.pt"
_TRAINING_PREFIX = re.compile(r"^(encoder\.)?(sentence_encoder\.)?")  # of the model that was trained; not in fair-esm's
_WORDS, _DECODER, _ROTARY = "embed_tokens.weight", "lm_head.weight", "self_attn.rot_emb.inv_freq"
_RENAMED = {
    _WORDS: "esm.embeddings.word_embeddings.weight",
    _DECODER: "lm_head.decoder.weight",
    f"layers.0.{_ROTARY}": "esm.rotary_embeddings.inv_freq",
}
_RENAMED_PARTS = (
    ("embed_positions", "esm.embeddings.position_embeddings"),
    ("emb_layer_norm_before", "esm.embeddings.layer_norm"),
    ("emb_layer_norm_after", "esm.encoder.emb_layer_norm_after"),
    ("contact_head", "esm.contact_head"),
)
_RENAMED_IN_LAYER = (
    ("self_attn.q_proj", "attention.self.query"),
    ("self_attn.k_proj", "attention.self.key"),
    ("self_attn.v_proj", "attention.self.value"),
    ("self_attn.out_proj", "attention.output.dense"),
    ("self_attn_layer_norm", "attention.LayerNorm"),
    ("fc1", "intermediate.dense"),
    ("fc2", "output.dense"),
    ("final_layer_norm", "LayerNorm"),
)


def fair_esm_file(model: LanguageModel) -> Path:
    """Return the local file of a checkpoint, in torch's own folder, where fair-esm also looks; fetched if need be.

    Raises:
        InputError: fair-esm has no such model, or it cannot be fetched.
    """
    if model.fair_esm is None:
        raise InputError(f"model={model.name} is not one of fair-esm's; use model.weights=hub, random or a path")
    file = Path(torch.hub.get_dir()) / "checkpoints" / f"{model.fair_esm}.pt"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(_SOURCE.format(name=model.fair_esm), str(file))
        except (URLError, OSError) as error:
            raise InputError(
                f"cannot get {model.fair_esm}.pt ({first_line(error)}); connect, put the file at {file}, "
                "or give model.weights=PATH"
            ) from error
    return file


def from_fair_esm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of fair-esm's layout under the names of an `EsmForMaskedLM`; other names stay as they are.

    The embedding and the decoder are one matrix in fair-esm, which loads the decoder last, so the decoder's is taken.
    Every layer of an ESM-2 file holds the same table of rotary frequencies; one is enough.
    """
    plain = {_TRAINING_PREFIX.sub("", name): tensor for name, tensor in state.items()}
    if _WORDS in plain and _DECODER in plain:
        plain[_WORDS] = plain[_DECODER]
    repeated = {name for name in plain if name.endswith(_ROTARY) and name not in _RENAMED}
    return {_renamed(name): tensor for name, tensor in plain.items() if name not in repeated}


def without_mask_word(state: Mapping[str, Tensor], mask: int) -> dict[str, Tensor]:
    """Return a checkpoint of ESM-1b or ESM-1v as fair-esm loads it: with zeros for the embedding of the mask token.

    fair-esm changes the tensor in place, so the decoder changes with it where the file holds both as one tensor.

    Args:
        state: the tensors of the file, by the names that they have there; they are left as they are.
        mask: id of the mask token.
    """
    words = next((tensor for name, tensor in state.items() if name.endswith(_WORDS)), None)
    if words is None or len(words) <= mask:
        return dict(state)
    zeroed = words.clone()
    zeroed[mask] = 0
    return {name: zeroed if tensor.data_ptr() == words.data_ptr() else tensor for name, tensor in state.items()}


def _renamed(name: str) -> str:
    if name in _RENAMED:
        return _RENAMED[name]
    if found := re.match(r"layers\.(\d+)\.(.+)", name):
        return f"esm.encoder.layer.{found[1]}.{_with_part(found[2], _RENAMED_IN_LAYER)}"
    return _with_part(name, _RENAMED_PARTS)


def _with_part(name: str, renamed: tuple[tuple[str, str], ...]) -> str:
    """Replace the module at the beginning of a name."""
    return next((ours + name[len(theirs) :] for theirs, ours in renamed if name.startswith(f"{theirs}.")), name)
