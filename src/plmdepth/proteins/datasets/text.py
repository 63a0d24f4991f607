"""``dataset=text``: passages of natural text, for language models beside protein models."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.dataset import Dataset
from plmdepth.proteins.protein import Protein, Skipped
from plmdepth.proteins.selection import ProteinSet
from plmdepth.randomness import keyed_generator


@dataclass(frozen=True, kw_only=True)
class TextDataset(Dataset):
    """A file of passages: JSON lines, parquet, or plain text in which an empty line ends a passage; ``.gz`` too.

    A passage takes the place of a protein. It is read as it stands, but for white space at its ends; what exceeds the
    model's tokens is cut by the tokenizer. Of equal passages the first counts.

    Attributes:
        path: the file.
        field: the key, or column, that holds the text.
        words: cut passages into windows of so many words, one after the other; None leaves them whole.
    """

    holds_text: ClassVar[bool] = True
    path: str
    field: str = "text"
    words: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.words is not None and self.words < 1:
            raise InputError(f"dataset.words={self.words}: a window has 1 word or more; null leaves passages whole")

    def records(self) -> Iterator[tuple[str, str]]:
        """Yield (id, text) of every passage or window, named by its number from 1 and, in windows, that of the window.

        Raises:
            InputError: the file cannot be read, or a record has no text.
        """
        for number, passage in enumerate(self._passages(Path(self.path).expanduser()), 1):
            if self.words is None:
                yield str(number), passage.strip()
                continue
            words = passage.split()
            for window, start in enumerate(range(0, len(words), self.words), 1):
                yield f"{number}.{window}", " ".join(words[start : start + self.words])

    def proteins(self, model_limit: int, seed: int) -> ProteinSet:  # noqa: ARG002 (tokens are cut by the tokenizer)
        """Return the passages to measure.

        Raises:
            InputError: there are none.
        """
        kept: dict[str, Protein] = {}
        skipped = []
        for identifier, text in self.records():
            if text and text not in kept:
                kept[text] = Protein(identifier, text)
            else:
                skipped.append(Skipped(identifier, len(text), "duplicate passage" if text else "empty passage"))
        if not kept:
            raise InputError(f"{self.path} holds no passage")
        order = sorted(kept.values(), key=lambda each: keyed_generator(seed, "order", each.sequence).random())
        return ProteinSet(tuple(order[: self.limit]), tuple(skipped), dict(Counter()))

    def _passages(self, path: Path) -> Iterator[str]:
        try:
            if path.name.endswith(".parquet"):
                with pq.ParquetFile(path) as table:
                    if self.field not in table.schema_arrow.names:
                        self._text(None, "the table")
                    for batch in table.iter_batches(columns=[self.field]):
                        yield from (self._text(value, "a row") for value in batch.column(0).to_pylist())
                return
            with _opened(path) as file:
                if path.name.removesuffix(".gz").endswith((".jsonl", ".json")):
                    yield from self._lines(file)
                else:
                    yield from _paragraphs(file)
        except (OSError, EOFError, UnicodeDecodeError, pa.ArrowInvalid) as error:
            raise InputError(f"dataset.path={path}: cannot read it ({str(error).splitlines()[0]})") from error

    def _lines(self, file: TextIO) -> Iterator[str]:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise InputError(f"{self.path}, line {number}: no JSON ({error})") from error
                yield self._text(record.get(self.field) if isinstance(record, dict) else None, f"line {number}")

    def _text(self, value: object, where: str) -> str:
        if not isinstance(value, str):
            raise InputError(f"{self.path}: {where} has no text in {self.field!r}; give dataset.field=NAME")
        return value


def _opened(path: Path) -> TextIO:
    return gzip.open(path, "rt", encoding="utf-8") if path.name.endswith(".gz") else path.open(encoding="utf-8")


def _paragraphs(file: TextIO) -> Iterator[str]:
    """Yield what stands between empty lines."""
    lines: list[str] = []
    for line in file:
        if line.strip():
            lines.append(line.strip())
        elif lines:
            yield " ".join(lines)
            lines = []
    if lines:
        yield " ".join(lines)
