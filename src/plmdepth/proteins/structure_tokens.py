"""Structure tokens, from the file in which DPLM-2 publishes them.

DPLM-2's tokenizer (a quantised autoencoder of backbones) gives every residue one of 8192 codes. Its scripts write them
beside the residues as a second FASTA file with the same names (``struct.fasta``, ``struct_seq.fasta`` or
``struct_token.fasta``), in which a protein is its codes, separated by commas: ``0042,8191,0007``.
"""

from pathlib import Path

from plmdepth.errors import InputError
from plmdepth.proteins.fasta import read_fasta

N_CODES = 8192
_SHOWN = 20


def read_structure_tokens(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the codes of every protein by its id, the first word of its header.

    Raises:
        InputError: the file is missing or no FASTA, a record holds anything but codes, or two have the same id.
    """
    found: dict[str, tuple[int, ...]] = {}
    for identifier, text in read_fasta(path, "dataset.structure_tokens"):
        if identifier in found:
            raise InputError(f"{path} holds structure tokens of {identifier} twice; keep one of the records")
        found[identifier] = _codes(path, identifier, text)
    return found


def _codes(path: Path, identifier: str, text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    for position, word in enumerate(words, start=1):
        if not (word.isascii() and word.isdigit() and int(word) < N_CODES):
            raise InputError(
                f"{path}: {word[:_SHOWN]!r} in record {identifier} (position {position}) is no structure token; "
                f"expected numbers from 0 to {N_CODES - 1}, separated by commas"
            )
    return tuple(int(word) for word in words)
