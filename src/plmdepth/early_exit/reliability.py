"""Whether the heads' probabilities come true as often as they say, as a table."""

from collections.abc import Mapping

import pandas as pd

from plmdepth.early_exit.study import Said
from plmdepth.scores.calibration import predicted_class, predicted_terms, reliability_curve


def reliability_table(said: Mapping[str, Said]) -> pd.DataFrame:
    """Return one row a layer and bin that holds predictions.

    Columns: ``scaling`` (the key: as the heads say it, or at the temperatures of validation), ``layer``, ``bin``
    (from 0), ``probability`` (mean that was said in the bin), ``frequency`` (share that came true), ``n``, and
    ``error``, the expected calibration error of the layer.
    """
    return pd.concat([_table(name, each) for name, each in said.items()], ignore_index=True)


def _table(scaling: str, said: Said) -> pd.DataFrame:
    outcomes = predicted_terms if said.kind == "multilabel" else predicted_class
    curve = reliability_curve(*outcomes(said.probabilities, said.labels))
    n_layers, n_bins = curve.n.shape
    table = pd.DataFrame(
        {
            "scaling": scaling,
            "layer": [layer for layer in range(n_layers) for _ in range(n_bins)],
            "bin": list(range(n_bins)) * n_layers,
            "probability": curve.probability.flatten().tolist(),
            "frequency": curve.frequency.flatten().tolist(),
            "n": curve.n.flatten().long().tolist(),
            "error": curve.error.repeat_interleave(n_bins).tolist(),
        }
    )
    return table[table["n"] > 0]
