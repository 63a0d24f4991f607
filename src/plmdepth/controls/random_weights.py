"""``control=random_weights``: the same architecture, untrained. What it shows too is not learned."""

from dataclasses import dataclass, replace

from plmdepth.controls.control import Control
from plmdepth.language_models.language_model import LanguageModel


@dataclass(frozen=True)
class RandomWeights(Control):
    """Draw the weights from the run's seed."""

    def model(self, model: LanguageModel) -> LanguageModel:
        """Return the model without its training."""
        return replace(model, weights="random")
