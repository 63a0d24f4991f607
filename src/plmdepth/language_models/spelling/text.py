"""Spelling of natural text by a language model's own tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from transformers import AutoTokenizer

from plmdepth.errors import InputError
from plmdepth.language_models.checkpoints.files import first_line
from plmdepth.language_models.spelling.spelling import Spelling, Tokens


@dataclass(frozen=True, kw_only=True)
class TextSpelling(Spelling):
    """Text in the pieces of a published tokenizer, with the special tokens that it adds; the end of a long one is cut.

    A token of text takes the place of a residue in the residue mask, so curves are means over tokens.

    Attributes:
        tokenizer: a tokenizer of the transformers library.
        limit: most tokens of a text, beside special ones.
    """

    tokenizer: Any
    limit: int

    @classmethod
    def of(cls, spelling: Spelling, place: Path, limit: int, model: str) -> Self:
        """Return the spelling of text by the tokenizer files of a folder.

        Args:
            spelling: how the model spells letters, whose special tokens are the same.
            place: the folder.
            limit: most tokens of a text, beside special ones.
            model: the model's option, for the message.

        Raises:
            InputError: there are no such files, or they are damaged.
        """
        try:
            tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
            raise InputError(
                f"{model} reads text by the tokenizer of its weights, and {place} has none that can be read: "
                f"{first_line(error)}"
            ) from error
        same = (spelling.letters, spelling.prefix, spelling.suffix, spelling.pad, spelling.mask)
        return cls(*same, tokenizer=tokenizer, limit=limit)

    @property
    def unit(self) -> str:
        """What one token stands for."""
        return "token"

    @property
    def amino_acids(self) -> Tensor:
        """Ids of all tokens: any of them may follow in a text."""
        return torch.arange(len(self.tokenizer))

    def n_tokens(self, length: int) -> int:
        """Return the most tokens that a text of that many characters is expected to have."""
        return min(length, self.limit) + int(self.tokenizer.num_special_tokens_to_add())

    def encode(self, sequences: Sequence[str]) -> Tokens:
        """Spell texts, padded on the right."""
        most = self.limit + self.tokenizer.num_special_tokens_to_add()
        rows = [
            self.tokenizer(text, truncation=True, max_length=most, return_special_tokens_mask=True)
            for text in sequences
        ]
        lengths = torch.tensor([len(row["input_ids"]) for row in rows])
        ids = torch.full((len(rows), int(lengths.max())), self.pad)
        words = torch.zeros_like(ids, dtype=torch.bool)
        for index, row in enumerate(rows):
            ids[index, : lengths[index]] = torch.tensor(row["input_ids"])
            words[index, : lengths[index]] = ~torch.tensor(row["special_tokens_mask"], dtype=torch.bool)
        return Tokens(ids, torch.arange(ids.shape[1]) < lengths[:, None], words)
