"""DPLM: ESM-2's architecture, trained by discrete diffusion (Wang et al. 2024).

Trained at every noise level, it predicts from inputs of which any part is hidden, all residues even. ESM-2's treatment
of mask tokens makes the embeddings of what is left grow with the noise, by ``0.88 / (1 - fraction masked)``: compare
norms between noise levels with that in mind.
"""

from dataclasses import dataclass
from typing import ClassVar

from plmdepth.language_models.families.esm2 import ESM2


@dataclass(frozen=True, kw_only=True)
class DPLM(ESM2):
    """An `EsmForMaskedLM` trained by diffusion; its tokens are ESM-2's.

    Whether the decoder is the embedding matrix is taken from the file: a decoder that it holds is used as it is.
    """

    # Early configurations lack dplm_type.
    distinguishing: ClassVar[tuple[str, ...]] = tuple(name for name in ESM2.distinguishing if name != "dplm_type")
