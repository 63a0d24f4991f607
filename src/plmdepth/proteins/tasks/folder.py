"""Files of a published layout: where they are, and what to say when one is missing."""

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from plmdepth.errors import InputError


@dataclass(frozen=True)
class Folder:
    """A user's folder with the files of one layout.

    Attributes:
        root: the folder.
        option: the data set that is read, for messages.
        layout: the names that are expected in it, for messages.
        downloadable: whether ``dataset.download=true`` brings them.
    """

    root: Path
    option: str
    layout: tuple[str, ...]
    downloadable: bool = False

    def find(self, *patterns: str) -> Path:
        """Return the file that fits the first pattern that anything fits.

        Raises:
            InputError: none does, or several do.
        """
        if (path := self.find_if_there(*patterns)) is None:
            self.refuse(patterns[0])
        return path

    def find_if_there(self, *patterns: str) -> Path | None:
        """Return the file as `find` does, or None.

        Raises:
            InputError: several files fit a pattern.
        """
        for pattern in patterns:
            matches = sorted(path for path in self.root.glob(pattern) if path.is_file())
            if len(matches) > 1:
                names = ", ".join(path.name for path in matches)
                raise InputError(f"dataset={self.option}: several files in {self.root} fit {pattern}: {names}")
            if matches:
                return matches[0]
        return None

    def refuse(self, missing: str) -> NoReturn:
        """Say what is missing, what the folder should hold, and how it gets there.

        Raises:
            InputError: always.
        """
        where = f"no {missing} in {self.root}" if self.root.is_dir() else f"no {missing}: no such folder {self.root}"
        fetch = "; dataset.download=true fetches what is missing" if self.downloadable else ""
        raise InputError(f"dataset={self.option}: {where}; dataset.root should hold {', '.join(self.layout)}{fetch}")
