"""Vocabularies as published beside weights: sentencepiece models and tokenizers, in few lines."""

import json
from collections.abc import Mapping
from pathlib import Path

_WORD = "\u2581"


def pieces_of(special: Mapping[str, int], letters: str) -> list[str]:
    """Return a vocabulary in the order of its ids: special tokens where they belong, then letters as words."""
    names = {index: token for token, index in special.items()}
    first = [names.get(index, f"<other{index}>") for index in range(max(names, default=-1) + 1)]
    return [*first, *(_WORD + letter for letter in letters)]


def write_pieces(folder: Path, special: Mapping[str, int], letters: str) -> None:
    """Write ``spiece.model``: a field 1 a piece, whose field 1 is its text and field 2 its score, a float."""
    content = b""
    for piece in pieces_of(special, letters):
        text = piece.encode()
        entry = b"\x0a" + bytes([len(text)]) + text + b"\x15" + bytes(4)
        content += b"\x0a" + bytes([len(entry)]) + entry
    (folder / "spiece.model").write_bytes(content)


def write_tokenizer(folder: Path, special: Mapping[str, int], letters: str) -> None:
    """Write ``tokenizer.json``, as far as it is read."""
    entries = [[piece, 0.0] for piece in pieces_of(special, letters)]
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": entries}}), encoding="utf-8")
