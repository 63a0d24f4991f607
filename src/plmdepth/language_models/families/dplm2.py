"""DPLM-2: diffusion over residues and structure tokens (Wang et al. 2025). Its layers are ESM-2's.

A protein is ``<cls_struct> codes <eos_struct> <cls_aa> residues <eos_aa>``: two halves of one length, each padded on
its own. Four things are not ESM-2's. Positions begin again in the second half where both modalities are present. The
released wrapper embeds twice, so ESM's treatment of mask tokens is applied twice: ``(0.88 / (1 - r))^2`` with r the
share of ``<mask_aa>`` among the tokens of both halves; structure tokens never count as masked. A quarter of the
training rows kept the halves from seeing each other. The head is a matrix of its own.

``model.modality`` says what is read, and the same residues are hidden whatever it is:

* ``sequence``: the half of the residues alone. Then the model runs as ESM-2 does, but for the factor, 0.77 instead of
  0.88 where nothing is hidden.
* ``structure``: the half of the structure tokens alone; hidden tokens are predicted among the 8192 codes.
* ``both``: both halves. ``model.measured`` says in which of them residues are hidden, predicted, intervened on and
  averaged over; the other half is shown whole.

So every protein has as many measured tokens whatever is read, one a residue. ``sequence`` and ``both`` measure the same
tokens and predict among the same twenty amino acids: their curves differ by what the structure adds. ``structure`` and
``both`` with ``measured=structure`` differ by what the residues add. Predictions of codes and of amino acids differ in
the number of choices, so their entropies and losses have different ceilings, ln 8192 and ln 20.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from transformers import EsmConfig

from plmdepth.errors import InputError
from plmdepth.language_models.anatomy import Anatomy
from plmdepth.language_models.families.esm2 import ESM2
from plmdepth.language_models.families.esm2 import SPELLING as SEQUENCE
from plmdepth.language_models.families.esm2 import VOCABULARY as RESIDUES
from plmdepth.language_models.language_model import Modality
from plmdepth.language_models.spelling.spelling import Spelling, Tokens
from plmdepth.language_models.spelling.structure import JointSpelling, StructureSpelling
from plmdepth.proteins.structure_tokens import N_CODES

_FIRST = len(RESIDUES)  # ids below belong to the residues, from here on to the structure
VOCABULARY = (
    *RESIDUES,
    *("<cls_struct>", "<eos_struct>", "<unk_struct>"),
    *(f"{code:04d}" for code in range(N_CODES)),
    "<mask_struct>",
)
STRUCTURE = StructureSpelling(
    letters=SEQUENCE.letters,
    prefix=(VOCABULARY.index("<cls_struct>"),),
    suffix=(VOCABULARY.index("<eos_struct>"),),
    pad=SEQUENCE.pad,
    mask=VOCABULARY.index("<mask_struct>"),
    first_code=VOCABULARY.index("0000"),
    n_codes=N_CODES,
)
_HALVES = (STRUCTURE, SEQUENCE)
BOTH = {"structure": JointSpelling.of(_HALVES, 0), "sequence": JointSpelling.of(_HALVES, 1)}


@dataclass(frozen=True, kw_only=True)
class DPLM2(ESM2):
    """An `EsmForMaskedLM` over residues and structure tokens.

    Attributes:
        measured: where both halves are read, the one whose residues are predicted and measured.
        cross_modality: whether the halves see each other; false is how a quarter of the training rows were read.
    """

    # Whether a file calls itself dplm2_esm or dplm_esm says nothing; the vocabulary is DPLM-2's alone.
    distinguishing: ClassVar[tuple[str, ...]] = tuple(name for name in ESM2.distinguishing if name != "dplm_type")
    modalities: ClassVar[tuple[Modality, ...]] = ("sequence", "structure", "both")
    measured: Literal["sequence", "structure"] = "sequence"
    cross_modality: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.modality == "sequence" and self.measured == "structure":
            raise InputError("model.measured=structure: only residues are read; use model.modality=both or structure")
        if self.modality != "both" and not self.cross_modality:
            raise InputError("model.cross_modality=false keeps two halves apart; use model.modality=both")

    @property
    def spelling(self) -> Spelling:
        """Residues, structure tokens, or both side by side."""
        return {"sequence": SEQUENCE, "structure": STRUCTURE, "both": BOTH[self.measured]}[self.modality]

    @property
    def token_ids(self) -> Mapping[str, int]:
        """The ids of all tokens."""
        return {token: index for index, token in enumerate(VOCABULARY)}

    def architecture_config(self) -> EsmConfig:
        """Return the configuration of the published models at this size."""
        config = super().architecture_config()
        config.vocab_size = len(VOCABULARY)
        config.tie_word_embeddings = False
        return config

    def anatomy(self, module: Any) -> Anatomy:
        """Return the parts of an `EsmForMaskedLM`, and what its forward pass is called with."""
        return replace(super().anatomy(module), inputs=wrapped(module, self.cross_modality))


def wrapped(module: Any, cross_modality: bool = True) -> Callable[[Tokens], dict[str, Any]]:
    """Return what makes the arguments of an `EsmForMaskedLM` that has to read as the published wrapper does.

    Args:
        module: the model.
        cross_modality: whether the two halves of a row see each other.
    """

    def inputs(tokens: Tokens) -> dict[str, Any]:
        ids, attended = tokens.ids, tokens.attended.long()
        once = module.esm.embeddings(input_ids=ids, attention_mask=attended)
        twice = module.esm.embeddings(input_ids=ids, inputs_embeds=once, attention_mask=attended)
        mask = attended if cross_modality else apart(tokens.attended, twice.dtype)
        return {"inputs_embeds": twice, "attention_mask": mask, "position_ids": positions(ids)}

    return inputs


def positions(ids: Tensor) -> Tensor:
    """Return the position of every token, ``[1, token]``; where both modalities are present, each half has its own.

    As published, one batch counts as a whole: a row of one modality among others of both counts its halves too.

    Raises:
        ValueError: both are present, and the number of tokens is odd: there are no two halves of one length.
    """
    width = ids.shape[1]
    structure = ids >= _FIRST
    both = bool(structure.any()) and bool((~structure & (ids != SEQUENCE.pad)).any())
    if both and width % 2:
        raise ValueError(f"residues and structure tokens are two halves of one length; {width} tokens are none")
    return (torch.arange(width, device=ids.device) % (width // 2 if both else width))[None]


def apart(attended: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the mask that is added to attention scores so that each half sees itself alone.

    Args:
        attended: true for every token but padding, ``[batch, token]``.
        dtype: its precision.

    Returns:
        ``[batch, 1, token, token]``, 0 or the least number.
    """
    width = attended.shape[1]
    second = torch.arange(width, device=attended.device) >= width // 2
    seen = (second[:, None] == second) & attended[:, None, None, :]
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)
