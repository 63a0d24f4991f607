"""What a control may change: the model before it is loaded, the loaded stack, or the proteins."""

from collections.abc import Sequence
from dataclasses import dataclass

from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.proteins.protein import Protein


@dataclass(frozen=True)
class Control:
    """No control: nothing is changed. The others override what they change."""

    def model(self, model: LanguageModel) -> LanguageModel:
        """Return the model to load."""
        return model

    def stack(self, stack: LayerStack) -> LayerStack:
        """Return the stack to measure."""
        return stack

    def proteins(self, proteins: Sequence[Protein], seed: int) -> tuple[Protein, ...]:  # noqa: ARG002
        """Return the proteins to measure."""
        return tuple(proteins)
