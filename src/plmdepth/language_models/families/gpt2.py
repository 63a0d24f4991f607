"""GPT-2 on proteins: ProtGPT2, an autoregressive model over pieces of several residues (Ferruz et al. 2022).

Its tokens are those of a byte-pair encoding, four residues each on average, so all curves are per token and not per
residue; see `PieceSpelling`. A protein is text in lines of 60 residues between two ``<|endoftext|>``, as its authors
compute perplexities. The tokens need the checkpoint's own tokenizer. Untrained and miniature models have none: they
spell a residue as one token, the one of its letter, in a single line.
"""

import string
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer, PreTrainedModel

from plmdepth.errors import InputError
from plmdepth.language_models.anatomy import Anatomy
from plmdepth.language_models.checkpoints.files import first_line
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.spelling.pieces import PieceSpelling
from plmdepth.language_models.spelling.spelling import Spelling

VOCABULARY_ROWS = 50257
N_POSITIONS = 1024
LINE = 60
END = 0  # <|endoftext|>; the bytes follow, in the order of the byte alphabet
NEW_LINE = 199
LETTERS = MappingProxyType({letter: 1 + ord(letter) - ord("!") for letter in string.ascii_uppercase})
SINGLE_LETTERS = Spelling(letters=LETTERS, prefix=(END, NEW_LINE), suffix=(NEW_LINE, END), pad=END, mask=None)
_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))


@dataclass(frozen=True, kw_only=True)
class ProtGPT2(LanguageModel):
    """A `GPT2LMHeadModel` of any size that spells proteins as ProtGPT2 does."""

    architecture: ClassVar[type[PreTrainedModel]] = GPT2LMHeadModel

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positions(N_POSITIONS - self.max_length // LINE)  # a token a residue, and one a line, at most

    @property
    def spelling(self) -> Spelling:
        """One token a residue: what there is without a tokenizer."""
        return SINGLE_LETTERS

    def published_spelling(self, place: Path) -> PieceSpelling:
        """Return the spelling by the tokenizer beside the weights.

        Raises:
            InputError: there is none, or it is damaged.
        """
        if not any(all((place / name).is_file() for name in names) for names in _FILES):
            raise InputError(
                f"{self.name} spells proteins by its own tokenizer; put tokenizer.json, or vocab.json and merges.txt, "
                f"into {place}"
            )
        try:
            tokenizer: Any = GPT2Tokenizer.from_pretrained(place, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"cannot read the tokenizer in {place}: {first_line(error)}") from error
        vocabulary = tokenizer.get_vocab()
        end, new_line = (
            vocabulary.get(token, known) for token, known in (("<|endoftext|>", END), ("\u010a", NEW_LINE))
        )
        return PieceSpelling(
            letters=MappingProxyType({letter: vocabulary.get(letter, known) for letter, known in LETTERS.items()}),
            prefix=(end, new_line),
            suffix=(new_line, end),
            pad=end,
            mask=None,
            tokenizer=tokenizer,
            line=LINE,
        )

    def architecture_config(self) -> GPT2Config:
        """Return the configuration of the published model at this size."""
        return GPT2Config(
            vocab_size=VOCABULARY_ROWS,
            n_positions=N_POSITIONS,
            n_embd=self.width,
            n_layer=self.n_layers,
            n_head=self.n_heads,
            activation_function="gelu_new",
            layer_norm_epsilon=1e-5,
            attn_pdrop=0.0,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            bos_token_id=END,
            eos_token_id=END,
            pad_token_id=END,
            use_cache=False,
        )

    def anatomy(self, module: Any) -> Anatomy:
        """Return the parts of a `GPT2LMHeadModel`; its projections are `Conv1D`, linear maps stored transposed."""
        blocks = module.transformer.h
        return Anatomy(
            layers=list(blocks),
            attention_outputs=[block.attn.c_proj for block in blocks],
            mlp_outputs=[block.mlp.c_proj for block in blocks],
            norm=module.transformer.ln_f,
            head=module.lm_head,
            wiring="sequential",
            causal=True,
            cache_argument="past_key_values",
        )
