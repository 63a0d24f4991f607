"""The vocabulary of a checkpoint, read from its own tokenizer files where they lie beside its weights."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from plmdepth.errors import InputError
from plmdepth.language_models.checkpoints.files import first_line
from plmdepth.language_models.spelling.spelling import Spelling
from plmdepth.proteins.protein import CANONICAL

TOKENIZER_FILES = ("tokenizer.json", "spiece.model", "vocab.json", "merges.txt")
"""What families read beside the weights."""
VOCABULARY_FILES = (*TOKENIZER_FILES, "vocab.txt")
"""What is fetched beside the weights: also a list of tokens that must agree with the family's."""

_SHOWN = 3
_WORD = "\u2581"  # sentencepiece's mark of the first piece of a word
_PIECE = 0x0A  # field 1 of a sentencepiece model, and of a piece of it: a length and that many bytes


def published_pieces(place: Path) -> dict[str, int]:
    """Return the token id of every piece in a folder's ``tokenizer.json`` or ``spiece.model``; empty without either.

    Raises:
        InputError: the file is damaged.
    """
    for name, read in (("tokenizer.json", _from_tokenizer), ("spiece.model", _from_sentencepiece)):
        file = place / name
        if file.is_file():
            try:
                return read(file)
            except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
                raise InputError(f"cannot read {file}: {first_line(error)}; the file is damaged") from error
    return {}


def check_vocabulary(token_ids: Mapping[str, int], model: str, place: Path) -> None:
    """Refuse a checkpoint whose tokenizer files give tokens other ids than the family has.

    Args:
        token_ids: ids of tokens that the family fixes.
        model: the model's option, for the message.
        place: the folder of the checkpoint; a file has nothing beside it.

    Raises:
        InputError: a file has other ids, lacks an amino acid, or is damaged.
    """
    for name, read in _VOCABULARIES.items() if token_ids else ():
        file = place / name
        if not file.is_file():
            continue
        try:
            found = read(file)
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(f"cannot read {file}: {first_line(error)}; the file is damaged") from error
        wrong = [token for token, index in token_ids.items() if token in found and found[token] != index]
        wrong += [token for token in token_ids if len(token) == 1 and token.upper() in CANONICAL and token not in found]
        if wrong:
            raise InputError(
                f"{file} is not the vocabulary of {model}: it lacks, or has moved, {', '.join(wrong[:_SHOWN])}"
                f"{f' and {len(wrong) - _SHOWN} more' if len(wrong) > _SHOWN else ''}; these weights read other tokens"
            )


def published_letters(letters: Mapping[str, int], pieces: Mapping[str, int]) -> dict[str, int]:
    """Return the ids of letters as a vocabulary has them: as words where it can, as pieces of words, or as given."""
    return {letter: pieces.get(_WORD + letter, pieces.get(letter, known)) for letter, known in letters.items()}


def respelled(spelling: Spelling, special: Mapping[str, int], place: Path) -> Spelling:
    """Return a spelling with the ids that letters have in the vocabulary of a checkpoint, where no document has them.

    Args:
        spelling: all but the ids of letters; a letter that the vocabulary lacks is ``<unk>``, an amino acid cannot be.
        special: ids of the tokens that the spelling relies on, with ``<unk>``.
        place: the folder of the checkpoint.

    Raises:
        InputError: there is no vocabulary, or it is another one.
    """
    pieces = published_pieces(place)
    if not pieces:
        raise InputError(
            f"{place} has no tokenizer.json or spiece.model, from which alone the ids of letters are known"
        )
    letters = published_letters(dict.fromkeys(spelling.letters, special["<unk>"]), pieces)
    wrong = [token for token, index in special.items() if pieces.get(token) != index]
    wrong += [letter for letter in CANONICAL if letters[letter] == special["<unk>"]]
    if wrong:
        raise InputError(f"the tokenizer in {place} is another one: it lacks, or has moved, {', '.join(wrong)}")
    return replace(spelling, letters=MappingProxyType(letters))


def _from_tokenizer(file: Path) -> dict[str, int]:
    content = json.loads(file.read_text(encoding="utf-8"))
    vocabulary: Any = content["model"]["vocab"]
    known = (
        vocabulary if isinstance(vocabulary, dict) else {piece: index for index, (piece, _) in enumerate(vocabulary)}
    )
    return {**known, **{token["content"]: token["id"] for token in content.get("added_tokens", [])}}


def _from_lines(file: Path) -> dict[str, int]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return {line.strip(): index for index, line in enumerate(lines)}


def _from_json(file: Path) -> dict[str, int]:
    return {str(token): int(index) for token, index in json.loads(file.read_text(encoding="utf-8")).items()}


def _from_sentencepiece(file: Path) -> dict[str, int]:
    """Read the pieces of a sentencepiece model, in their order; scores and settings are not needed."""
    pieces = [next(value for key, value in _fields(piece) if key == _PIECE) for piece in _parts(file.read_bytes())]
    return {piece.decode("utf-8"): index for index, piece in enumerate(pieces)}


def _parts(content: bytes) -> list[bytes]:
    return [value for key, value in _fields(content) if key == _PIECE]


def _fields(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the fields of a protocol buffer: the key, which holds number and type, and the bytes of the value."""
    position = 0
    while position < len(content):
        key, position = _number(content, position)
        kind, start = key & 7, position
        if kind == 0:
            _, position = _number(content, position)
        elif kind == 2:
            length, start = _number(content, position)
            position = start + length
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        else:
            raise ValueError(f"field of an unknown kind {kind}")
        if position > len(content):
            raise ValueError("it ends within a field")
        yield key, content[start:position]


def _number(content: bytes, position: int) -> tuple[int, int]:
    """Return a number of variable length, seven bits a byte, and where the next field begins."""
    number = shift = 0
    while True:
        byte = content[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return number, position


_VOCABULARIES: Mapping[str, Callable[[Path], dict[str, int]]] = MappingProxyType(
    {"vocab.txt": _from_lines, "vocab.json": _from_json, "tokenizer.json": _from_tokenizer}
)
