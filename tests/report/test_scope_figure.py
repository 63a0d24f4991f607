import numpy as np
import pandas as pd
import pytest

from plmdepth.metrics.logit_lens import QUANTITIES
from plmdepth.report.scope_figure import draw_scopes


def curves(quantities: list[tuple[str, str]], scopes: list[str], n_layers: int = 4) -> pd.DataFrame:
    rows = [
        {"quantity": quantity, "component": component, "scope": scope, "layer": layer, "value": layer + 10.0 * number}
        for quantity, component in quantities
        for number, scope in enumerate(scopes)
        for layer in range(n_layers + 1)
    ]
    table = pd.DataFrame(rows)
    same = {
        "metric": "logit_lens",
        "model": "m",
        "dataset": "d",
        "n_layers": n_layers,
        "parameters": 1_000_000,
        "n": 7,
        "unit": "nats",
    }
    return table.assign(**same, ci_low=table["value"] - 1, ci_high=table["value"] + 1)


def test_there_is_a_line_a_scope_with_its_values() -> None:
    scopes = ["noise_level=0.2", "noise_level=0.5", "noise_level=0.9"]
    figure = draw_scopes(curves([("kl_to_final", "")], scopes))
    lines = figure.axes[0].get_lines()
    assert len(lines) == 3
    for number, line in enumerate(lines):
        np.testing.assert_array_equal(line.get_ydata(), np.arange(5) + 10.0 * number)
    assert len({line.get_color() for line in lines}) == 3
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["0.2", "0.5", "0.9"]
    assert legend.get_title().get_text() == "noise level"


@pytest.mark.parametrize(
    ("quantities", "shown"),
    [
        (
            [("entropy", ""), ("x", ""), ("accuracy", ""), ("kl_to_final", ""), ("y", "")],
            ["share of residues predicted right", "KL to the final prediction", "entropy of the prediction", "x"],
        ),
        ([("norm", "residual"), ("cosine", "attention"), ("cosine", "layer")], ["norm", "cosine"]),
        ([("effect", "own"), ("effect", "rest")], ["effect", "effect"]),
    ],
)
def test_what_the_tables_show_comes_first_under_its_label_and_whole_layers_before_their_parts(
    quantities: list[tuple[str, str]], shown: list[str]
) -> None:
    known = {"logit_lens": {"curves": [quantity.described() for quantity in QUANTITIES]}}
    figure = draw_scopes(curves(quantities, ["noise_level=0.2", "noise_level=0.9"]), known)
    labels = [axis.get_ylabel().replace("\n", " ") for axis in figure.axes if axis.axison]
    assert labels == [f"{name} (nats)" for name in shown]


def test_layers_without_a_value_are_left_out() -> None:
    rows = curves([("cosine", "layer")], ["noise_level=0.2", "noise_level=0.9"])
    rows.loc[rows["layer"] == 0, "value"] = np.nan
    line = draw_scopes(rows).axes[0].get_lines()[0]
    assert list(line.get_xdata()) == [1, 2, 3, 4]
