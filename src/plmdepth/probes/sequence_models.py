"""What a probe can read: a model that is given whole proteins, as their sequences."""

from plmdepth.errors import InputError
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.spelling.decoder import HiddenDecoderSpelling, WholeDecoderSpelling


def check_reads_sequences(model: LanguageModel) -> None:
    """Refuse a model that cannot read a protein as its sequence alone, before it is loaded.

    Raises:
        InputError: it reads structures, or is the decoder of an encoder-decoder.
    """
    if model.modality != "sequence":
        raise InputError(
            f"model.modality={model.modality} reads structures, and probes read sequences; use model.modality=sequence"
        )
    if isinstance(model.spelling, WholeDecoderSpelling | HiddenDecoderSpelling):
        raise InputError(
            f"the decoder of {model.name} reads what it has written and not the protein; use model.part=encoder"
        )
