"""The checkpoints that fair-esm publishes: fetched where it keeps them, and read as plain weights."""

from pathlib import Path
from urllib.error import URLError

import torch

from plmdepth.errors import InputError
from plmdepth.language_models.checkpoints.files import first_line
from plmdepth.language_models.language_model import LanguageModel

_SOURCE = "https://dl.fbaipublicfiles.com/fair-esm/models/{name}.pt"


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
