"""Files of weights: where they are and what went wrong with them."""

from pathlib import Path

from plmdepth.errors import InputError

_PYTORCH = (".pt", ".pth", ".bin")
SUFFIXES = (".safetensors", *_PYTORCH)


def weight_files(place: Path) -> list[Path]:
    """Return the files that hold weights; safetensors alone where there are any.

    Raises:
        InputError: there are none.
    """
    if place.is_file():
        return [place]
    for found in (sorted(place.glob("*.safetensors")), sorted(p for p in place.rglob("*") if p.suffix in SUFFIXES)):
        if found:
            return found
    raise InputError(f"no .safetensors file in {place}; give model.weights the folder that holds the weights")


def holds_pytorch_files(folder: Path) -> bool:
    """Say whether a folder holds weights in PyTorch's own format."""
    return any(path.suffix in _PYTORCH for path in folder.rglob("*"))


def first_line(error: Exception) -> str:
    """Return what an error says first, or its kind."""
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
