"""``dataset=fasta``: the proteins of a FASTA file."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.dataset import Dataset
from plmdepth.proteins.fasta import first_word, read_headed
from plmdepth.proteins.selection import Structures
from plmdepth.proteins.structure_tokens import read_structure_tokens

_MOST_ALIKE = 0.1
"""Share of the records whose first word may be that of another header; they are then left out as duplicates."""


@dataclass(frozen=True, kw_only=True)
class FastaDataset(Dataset):
    """A FASTA file, plain or gzipped.

    Attributes:
        path: the file.
        id: what of a header names a record: ``first_word``, ``whole``, or a regular expression that is searched for in
            the header: its first group if it has one, else all that it matches.
        structure_tokens: a file with the structure tokens of the same proteins, as DPLM-2 publishes them; proteins
            without tokens are then left out. None where no model reads structures.
    """

    path: str
    id: str = "first_word"
    structure_tokens: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            re.compile(self.id)
        except re.error as error:
            raise InputError(f"dataset.id={self.id} is no regular expression ({error})") from error

    def records(self) -> Iterator[tuple[str, str]]:
        """Yield (id, text) of every record.

        Raises:
            InputError: the file is no FASTA, a header has no id, or first words do not tell headers apart.
        """
        headed = list(read_headed(Path(self.path).expanduser()))
        ids = [self._id(header, number) for number, (header, _) in enumerate(headed, start=1)]
        headers = {header for header, _ in headed}
        alike = len(headers) - len({self._id(header, 0) for header in headers})
        if self.id == "first_word" and alike > 1 and alike > _MOST_ALIKE * len(headed):
            raise InputError(
                f"{self.path}: {alike} of {len(headed)} headers begin with the first word of another one, such as "
                f"{headed[0][0][:60]!r}, and would be left out as duplicates; dataset.id=whole takes the whole header "
                "as id, dataset.id=REGEX a part of it"
            )
        return zip(ids, (text for _, text in headed), strict=True)

    def structures(self) -> Structures | None:
        """Return the structure tokens of every protein."""
        if self.structure_tokens is None:
            return None
        return Structures("dplm2", read_structure_tokens(Path(self.structure_tokens).expanduser()))

    def _id(self, header: str, number: int) -> str:
        if self.id == "first_word" or not header:
            return first_word(header, number)
        if self.id == "whole":
            return header
        found = re.search(self.id, header)
        if found is None or not found[found.re.groups and 1]:
            raise InputError(f"{self.path}: dataset.id={self.id} finds nothing in the header {header[:60]!r}")
        return str(found[found.re.groups and 1])
