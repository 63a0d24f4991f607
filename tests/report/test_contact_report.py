"""The figure and the sentences of a contact probe show what its record says."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from plmdepth.report.contact_figure import contact_rows, write_contact_figure
from plmdepth.report.contact_ranking import baselines, training_notes
from plmdepth.report.style import wrapped
from plmdepth.results.atomic import write_json

N_LAYERS = 3


def curves() -> pd.DataFrame:
    same = {"model": "m", "family": "f", "parameters": 1000, "n_layers": N_LAYERS, "dataset": "d", "metric": "probe"}
    cuts = {"precision_at_l": 0.1, "precision_at_l2": 0.2, "precision_at_l5": 0.3}
    return pd.DataFrame(
        {**same, "quantity": name, "component": span, "layer": layer, "value": value * layer, "n": 7}
        for span in ("long", "medium", "short")
        for name, value in cuts.items()
        for layer in range(1, N_LAYERS + 1)
    ).assign(ci_low=lambda table: table["value"] - 0.01, ci_high=lambda table: table["value"] + 0.01)


def layers() -> pd.DataFrame:
    table = pd.DataFrame({"layer": [3, 1, 2], "milliseconds": 1.0})
    for name, step in (("difference_to_last", 0.1), ("difference_to_separation", 0.2)):
        for end, shift in (("", 0.0), ("_low", -0.01), ("_high", 0.01)):
            table[f"test_{name}{end}"] = step * table["layer"] + shift
    return table


def result(**training: Any) -> dict[str, Any]:
    name = "test_precision_at_l"
    scalars = {"random": 0.02, "separation": 0.05, "perfect": 0.9, "over_separation": 0.25}
    left = {"quantity": "precision_at_l", "component": "long", "reason": "no contact", "proteins": 2}
    near = left | {"component": "short", "proteins": 5}
    return {
        "scalars": {f"{name}_{key}": value for key, value in scalars.items()},
        "scalar_intervals": {
            f"{name}_{key}": {"low": value - 0.01, "high": value + 0.01} for key, value in scalars.items()
        },
        "task": {
            "metric": "precision_at_l",
            "range": "long",
            "proteins": {"train": 20, "valid": 20, "test": 7},
            "left_out": {"test": [left, near]},
        },
        "training": {
            **{"pairs": 10, "pairs_available": 10, "layers_without_weight": [], "layers_not_converged": []},
            **training,
        },
    }


def test_the_panels_show_layers_baselines_cuts_ranges_and_differences() -> None:
    rows = contact_rows(curves(), layers(), result())
    lines = {key: line["value"].tolist() for key, line in rows.groupby(["quantity", "component"])}
    assert lines["attention", "attention"] == pytest.approx([0.1, 0.2, 0.3])
    assert lines["attention", "separation alone"] == [0.05] * 3
    assert lines["attention", "perfect ranking"] == [0.9] * 3
    assert lines["attention", "random ranking"] == [0.02] * 3
    assert lines["cuts", "top L/5"] == pytest.approx([0.3, 0.6, 0.9])
    assert lines["ranges", "short range"] == pytest.approx([0.1, 0.2, 0.3])
    assert lines["gaps", "to the last layer"] == pytest.approx([0.1, 0.2, 0.3])
    assert lines["gaps", "to separation alone"] == pytest.approx([0.2, 0.4, 0.6])


def test_the_figure_is_drawn_from_the_files_of_a_record_and_always_the_same(tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", result())
    curves().to_parquet(tmp_path / "curves.parquet")
    layers().to_csv(tmp_path / "layers.csv", index=False)
    files = write_contact_figure(tmp_path)
    before = [path.read_bytes() for path in files]
    assert [path.read_bytes() for path in write_contact_figure(tmp_path)] == before
    text = files[1].read_text()
    for words in ("precision (long range, top L)", "difference of precision", "layer (0 = embedding)", "top L/5"):
        assert all(f"<!-- {line} -->" in text for line in wrapped(words).splitlines())


def test_what_a_precision_is_held_against_is_told() -> None:
    first, second = baselines(result())
    assert "24 or more apart; 20 proteins to fit, 20 to choose, 7 to test" in first
    assert "random ranking reads 0.020, the separation alone 0.050, a perfect ranking 0.900" in second
    assert "the best layer is +0.250 [+0.240, +0.260] against the separation" in second


def test_what_was_left_out_is_told() -> None:
    assert list(training_notes(result())) == [
        "2 proteins of test are left out: no contact",
    ]
    told = list(training_notes(result(pairs=4, layers_without_weight=[1, 2], layers_not_converged=[0])))
    assert "4 of 10 training pairs are used (probe.max_pairs)" in told
    assert any(note.startswith("no head of layers 1, 2 has a weight, so their ranking is random") for note in told)
    assert "the fit did not end at layers 0 (0: separation alone)" in told
