import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind_from_stats

from plmdepth.report.head_figure import RATIO_COUNTS
from plmdepth.report.plm_vs_nlm import comparison, why_not_compared, write_comparison
from plmdepth.results.record import Record


def record(model: str, scale: float = 1.0) -> Record:
    names = [f"log_ratio_variance_by_{axis}" for axis in ("input", "layer", "head")]
    scalars = {"log_ratio": -0.5 * scale, "reconstruction": 0.7} | dict.fromkeys(names, 2.0 * scale)
    scalars |= {f"{name}_sd": 0.1 * scale for name in names}
    scalars |= {f"log_ratio_component_{part}": 0.5 * scale for part in ("input", "layer", "head", "rest")}
    result = {
        "scalars": scalars,
        "scalar_intervals": {"log_ratio": {"low": -0.6, "high": -0.4}, "reconstruction": None},
        "identity": {"metric": {"estimator": "detrended"}},
        "provenance": {"sequences_measured": 100},
    }
    counts = np.zeros((3, 48))
    counts[:, 20:30] = 5
    return Record(Path(model), result, pd.DataFrame({"model": [model]}), "", {RATIO_COUNTS: counts})


def test_differences_stand_with_their_intervals() -> None:
    table = comparison(record("plm", 1.5), record("nlm")).set_index("quantity")
    row = table.loc["log_ratio_variance_by_layer"]
    assert (row["protein"], row["language"], row["difference"]) == (3.0, 2.0, 1.0)
    for end in (row["low"], row["high"]):  # what Welch's test just does not reject
        assert ttest_ind_from_stats(3.0 - end, 0.15, 10, 2.0, 0.1, 10, equal_var=False).pvalue == pytest.approx(0.05)
    assert table.loc["log_ratio", "high"] == pytest.approx(-0.25 + math.hypot(0.1, 0.1))
    assert math.isnan(table.loc["reconstruction", "low"])
    assert math.isnan(table.loc["log_ratio_component_rest", "low"])


def test_published_numbers_stand_beside_their_pair_alone() -> None:
    table = comparison(record("prot_bert"), record("bert_base_text")).set_index("quantity")
    published = table["published (language / protein)"]
    assert published["log_ratio_variance_by_layer"] == "2.973 +- 0.034 / 7.317 +- 0.167"
    assert not published["log_ratio_component_rest"]
    assert len(comparison(record("prot_bert"), record("other")).columns) == len(table.columns)


def test_the_files_are_written(tmp_path: Path) -> None:
    files = write_comparison(record("plm"), record("nlm"), tmp_path / "new")
    assert [file.name for file in files] == [
        "comparison.csv",
        "comparison.md",
        "ratio_by_layer.png",
        "ratio_by_layer.svg",
    ]
    assert all(file.stat().st_size for file in files)
    assert "nlm: 100 sequences" in files[1].read_text()


def test_records_of_different_options_or_measurements_are_refused() -> None:
    other = record("nlm")
    changed = replace(other, result={**other.result, "identity": {"metric": {"estimator": "min_norm"}}})
    assert "different options" in str(why_not_compared(record("plm"), changed))
    assert "no record of" in str(why_not_compared(record("plm"), replace(other, matrices={})))
    assert why_not_compared(record("plm"), other) is None
