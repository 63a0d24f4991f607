"""A language model as configured: which family, which size, which weights. Nothing is loaded here."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from plmdepth.errors import InputError
from plmdepth.language_models.anatomy import Anatomy
from plmdepth.language_models.checkpoints.packages import Package
from plmdepth.language_models.spelling.published import check_vocabulary
from plmdepth.language_models.spelling.spelling import Spelling

DType = Literal["float32", "bfloat16", "float16"]
ObjectiveName = Literal["autoregressive", "masked", "diffusion"]
Modality = Literal["sequence", "structure", "both"]
_NOT_FACTS = {"weights", "hub_id", "fair_esm", "attention", "placement", "card"}


@dataclass(frozen=True, kw_only=True)
class LanguageModel(ABC):
    """One checkpoint of one family.

    Attributes:
        name: the config option, ``esm2_8m``.
        family: the family's name, ``esm2``.
        objective: what it was trained to do.
        n_layers: number of transformer blocks L.
        width: features of the residual stream.
        n_heads: attention heads a layer.
        max_length: longest protein in residues.
        weights: ``hub``, ``fair_esm``, ``package``, ``bundled``, ``random``, or the path of a local folder or file.
        hub_id: repository on the Hugging Face Hub, or None where there is none.
        fair_esm: name of the checkpoint that fair-esm publishes, or None where there is none.
        dtype: precision in which the model runs.
        attention: Hugging Face attention implementation, ``eager`` or ``sdpa``, where the architecture has it.
        modality: what the model reads of a protein: its residues, its structure tokens, or both.
        placement: where the weights lie while it runs: ``memory``; ``disk``, a layer at a time in memory; or ``auto``,
            spread over GPUs, memory and disk.
        reads: ``residues``, or ``text`` by the tokenizer beside the weights, for language models of English.
        miniature: toy width and depth with random weights, to try a whole path in seconds.
        card: what the tables of models say beside its size: ``title`` of its row, what it ``reads`` of a protein, the
            ``licence`` of the weights, and the ``source`` of that statement.
    """

    name: str
    family: str
    objective: ObjectiveName
    n_layers: int
    width: int
    n_heads: int
    max_length: int
    weights: str
    hub_id: str | None = None
    fair_esm: str | None = None
    dtype: DType = "float32"
    attention: Literal["sdpa", "eager"] = "eager"
    modality: Modality = "sequence"
    placement: Literal["memory", "disk", "auto"] = "memory"
    reads: Literal["residues", "text"] = "residues"
    miniature: bool = False
    card: Mapping[str, str] = field(default_factory=dict, hash=False)

    architecture: ClassVar[type[PreTrainedModel]]
    distinguishing: ClassVar[tuple[str, ...]] = ()
    """Fields of the architecture's configuration, beside its size, that tell this family's checkpoints from others."""
    modalities: ClassVar[tuple[Modality, ...]] = ("sequence",)
    """What the family can read."""
    hub_file: ClassVar[str | None] = None
    """The one file of the hub repository that holds the weights, where it holds those of other models too."""
    package: ClassVar[Package | None] = None
    """The Python package that holds the weights, where there is one."""
    trained_length: ClassVar[int | None] = None
    """The longest protein of training, where positions beyond it are untrained although the model has them."""

    def __post_init__(self) -> None:
        if self.modality not in self.modalities:
            raise InputError(f"model.modality={self.modality}: {self.name} reads {' or '.join(self.modalities)} alone")

    @property
    def predicts(self) -> bool:
        """Whether the model has a head, so that its states can be read out as predictions."""
        return True

    @property
    @abstractmethod
    def spelling(self) -> Spelling:
        """How this model spells a protein."""

    @property
    def token_ids(self) -> Mapping[str, int]:
        """Ids of the tokens that the family fixes, by the names that tokenizer files give them; empty where none is."""
        return {}

    @abstractmethod
    def architecture_config(self) -> PreTrainedConfig:
        """Return the Hugging Face configuration of this size."""

    @abstractmethod
    def anatomy(self, module: Any) -> Anatomy:
        """Return where the parts of a loaded module are."""

    def converted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG002 (families read it)
        """Return a checkpoint of another layout under the names and in the shapes of this architecture.

        Args:
            state: the tensors of the file, by the names that they have there.

        Raises:
            InputError: this family has no other layout, or the tensors are not of it.
        """
        raise InputError(f"{self.name} is read from a folder in Hugging Face's layout only")

    def published_spelling(self, place: Path) -> Spelling:
        """Return how a checkpoint spells a protein, by its own tokenizer files where the family reads them.

        Args:
            place: the folder or file that holds its weights.

        Raises:
            InputError: the files are damaged, needed and not there, or of another vocabulary than the family fixes.
        """
        check_vocabulary(self.token_ids, self.name, place)
        return self.spelling

    def length_notes(self, lengths: Iterable[int]) -> list[str]:
        """Return what is to be said of proteins of these lengths, in residues."""
        trained = self.trained_length
        longer = 0 if trained is None else sum(length > trained for length in lengths)
        said = f"longer than the {trained} residues up to which {self.name} was trained: {longer}"
        return [said] if longer else []

    def resolved(self) -> Self:
        """Return the model that is really built: the miniature where one is asked for."""
        return replace(self, n_layers=4, width=32, n_heads=4, weights="random") if self.miniature else self

    def check_positions(self, n_positions: int) -> None:
        """Refuse proteins that are longer than a table of positions with that many rows.

        Raises:
            InputError: with the special tokens, the longest protein has more tokens than there are positions.
        """
        longest = n_positions - self.spelling.n_tokens(0)
        if self.max_length > longest:
            raise InputError(
                f"model.max_length={self.max_length}: the positions of {self.name} end at {longest} residues"
            )

    def facts(self) -> dict[str, Any]:
        """Return what determines the model's numbers, beside its weights: not where they come from, nor how fast."""
        left_out = _NOT_FACTS | ({"reads"} if self.reads == "residues" else set())
        return {key: value for key, value in asdict(self).items() if key not in left_out}

    @property
    def torch_dtype(self) -> torch.dtype:
        """The precision as torch names it."""
        dtype = getattr(torch, self.dtype)
        assert isinstance(dtype, torch.dtype)
        return dtype
