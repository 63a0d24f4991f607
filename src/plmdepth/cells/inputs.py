"""What must fit together before a model is loaded: model, objective and proteins."""

from dataclasses import replace

from plmdepth.errors import InputError
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.objectives.objective import Objective
from plmdepth.proteins.datasets.dataset import Dataset
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.selection import ProteinSet


def check_objective(model: LanguageModel, objective: Objective) -> None:
    """Refuse an objective that the model's vocabulary cannot express.

    Raises:
        InputError: the objective hides residues and the model has no mask token.
    """
    if objective.name == "whole":
        return
    if model.reads == "text":
        raise InputError(f"{model.name} reads text, of which nothing is hidden; use objective=whole")
    if objective.name != "autoregressive" and model.spelling.mask is None:
        raise InputError(
            f"objective={objective.name} hides residues, but {model.name} has no mask token; "
            "use objective=autoregressive"
        )
    if objective.name == "autoregressive" and model.objective != "autoregressive":
        raise InputError(
            f"{model.name} reads both sides of a residue, so it cannot predict the next one; "
            f"use objective={model.objective}"
        )


def check_dataset(model: LanguageModel, dataset: Dataset) -> None:
    """Refuse text for a model that reads residues, and proteins for one that reads text.

    Raises:
        InputError: they do not fit.
    """
    if dataset.holds_text and model.reads != "text":
        raise InputError(
            f"dataset={dataset.name} is text, and {model.name} reads residues; use a model that reads text"
        )
    if model.reads == "text" and not dataset.holds_text:
        raise InputError(f"{model.name} reads text; use dataset=text dataset.path=FILE, not dataset={dataset.name}")


_STRUCTURE_SOURCES = {
    "dplm2": "dataset=fasta with dataset.structure_tokens=FILE",
    "3di": "dataset=structures with dataset.path=DIR",
}


def has_structure(protein: Protein, alphabet: str) -> bool:
    """Say whether a protein has structure tokens of an alphabet."""
    return protein.structure_tokens is not None and protein.structure_alphabet == alphabet


def inputs_of(model: LanguageModel, proteins: ProteinSet, backbones: bool = False) -> ProteinSet:
    """Return proteins with what the model reads of them, which alone decides numbers; or the metric (``backbones``).

    Raises:
        InputError: the model reads structure tokens or coordinates, and a protein has none.
    """
    alphabet, coordinates = model.spelling.structure_alphabet, model.spelling.reads_coordinates
    if alphabet is not None:
        lacking = [each.id for each in proteins.proteins if not has_structure(each, alphabet)]
        if lacking:
            raise InputError(
                f"model.modality={model.modality} reads structure tokens, and {lacking[0]} has none of {alphabet}; "
                f"use {_STRUCTURE_SOURCES[alphabet]}"
            )
    if coordinates:
        lacking = [each.id for each in proteins.proteins if not each.has_backbone]
        if lacking:
            raise InputError(
                f"model.modality={model.modality} reads coordinates, and {lacking[0]} has no residue with N, CA and C; "
                "use dataset=structures with dataset.path=DIR"
            )
    kept = [each.keeping(tokens=alphabet is not None, backbone=coordinates or backbones) for each in proteins.proteins]
    return replace(proteins, proteins=tuple(kept))
