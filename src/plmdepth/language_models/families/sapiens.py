"""Sapiens: small RoBERTa models of human antibodies, one of heavy and one of light chains (Prihoda et al. 2022).

A block is BERT's, `families.bert`. The files are fairseq's. The last part of their training hid no residue behind the
mask token: half of the targets were left as they were, half were replaced by a random residue. The package itself reads
X as the mask token, and so does this; other letters are ``<unk>``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, RobertaConfig, RobertaForMaskedLM

from plmdepth.errors import InputError
from plmdepth.language_models.anatomy import Anatomy
from plmdepth.language_models.checkpoints.packages import Package
from plmdepth.language_models.families.bert import post_norm_anatomy
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.spelling.spelling import Spelling
from plmdepth.proteins.letters import NONCANONICAL
from plmdepth.proteins.protein import CANONICAL

VOCABULARY = ("<s>", "<pad>", "</s>", "<unk>", *CANONICAL, "<mask>")
_IDS = {token: index for index, token in enumerate(VOCABULARY)}
SPELLING = Spelling(
    letters=MappingProxyType(
        {
            **{letter: _IDS[letter] for letter in CANONICAL},
            **dict.fromkeys(NONCANONICAL, _IDS["<unk>"]),
            "X": _IDS["<mask>"],
        }
    ),
    prefix=(_IDS["<s>"],),
    suffix=(_IDS["</s>"],),
    pad=_IDS["<pad>"],
    mask=_IDS["<mask>"],
)
_UNUSED_POSITIONS = 2  # counting starts after the id of the padding token, 1
_ENCODER = "sentence_encoder."
_RENAMED = (
    (f"{_ENCODER}embed_tokens.", "roberta.embeddings.word_embeddings."),
    (f"{_ENCODER}embed_positions.", "roberta.embeddings.position_embeddings."),
    (f"{_ENCODER}emb_layer_norm.", "roberta.embeddings.LayerNorm."),
    (f"{_ENCODER}layers.", "roberta.encoder.layer."),
    (".self_attn.q_proj.", ".attention.self.query."),
    (".self_attn.k_proj.", ".attention.self.key."),
    (".self_attn.v_proj.", ".attention.self.value."),
    (".self_attn.out_proj.", ".attention.output.dense."),
    (".self_attn_layer_norm.", ".attention.output.LayerNorm."),
    (".fc1.", ".intermediate.dense."),
    (".fc2.", ".output.dense."),
    (".final_layer_norm.", ".output.LayerNorm."),
    ("lm_head.weight", "lm_head.decoder.weight"),
)


@dataclass(frozen=True, kw_only=True)
class Sapiens(LanguageModel):
    """A `RobertaForMaskedLM` of one chain of antibodies.

    Attributes:
        chain: the chain that it was trained on.
        mlp_width: features inside the MLP.
        n_positions: tokens that the table of positions holds: a protein, ``<s>`` and ``</s>`` must fit.
    """

    architecture: ClassVar[type[PreTrainedModel]] = RobertaForMaskedLM
    distinguishing: ClassVar[tuple[str, ...]] = ("intermediate_size", "max_position_embeddings", "hidden_act")
    chain: Literal["heavy", "light"]
    mlp_width: int
    n_positions: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positions(self.n_positions)

    @property
    def package(self) -> Package:  # type: ignore[override]
        """The published package, which holds the files of both chains."""
        return Package("sapiens", "1.0.3", f"sapiens/models/v1/checkpoint_v{self.chain[0]}.pt")

    @property
    def spelling(self) -> Spelling:
        """One token a residue between ``<s>`` and ``</s>``."""
        return SPELLING

    @property
    def token_ids(self) -> Mapping[str, int]:
        """The ids of all tokens."""
        return _IDS

    def architecture_config(self) -> RobertaConfig:
        """Return the configuration of the published models at this size."""
        return RobertaConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=self.width,
            num_hidden_layers=self.n_layers,
            num_attention_heads=self.n_heads,
            intermediate_size=self.mlp_width,
            hidden_act="gelu",
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            max_position_embeddings=self.n_positions + _UNUSED_POSITIONS,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
            pad_token_id=SPELLING.pad,
            bos_token_id=_IDS["<s>"],
            eos_token_id=_IDS["</s>"],
        )

    def anatomy(self, module: Any) -> Anatomy:
        """Return the parts of a `RobertaForMaskedLM`: there is no final norm, every layer ends in one."""
        return post_norm_anatomy(module.roberta.encoder.layer, module.lm_head)

    def converted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return fairseq's checkpoint under the names of a `RobertaForMaskedLM`; fairseq has no types of tokens.

        Raises:
            InputError: the tensors are not fairseq's.
        """
        converted = {_renamed(name): tensor for name, tensor in state.items()}
        words = converted.get("roberta.embeddings.word_embeddings.weight")
        if words is None or words.ndim != 2:
            raise InputError(f"the weights do not fit {self.name}: they are not in the layout of fairseq's RoBERTa")
        return {**converted, "roberta.embeddings.token_type_embeddings.weight": torch.zeros(1, words.shape[1])}


def _renamed(name: str) -> str:
    name = name.removeprefix("decoder.").removeprefix("encoder.")
    for theirs, ours in _RENAMED:
        name = name.replace(theirs, ours)
    return name
