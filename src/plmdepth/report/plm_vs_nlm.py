"""A protein model beside a language model: how their heads weigh position against meaning, from two records.

The tables and the figure are those of Hart et al. 2025 (arXiv 2602.20449): Table 1, how much the logarithm of the ratio
varies by input, layer and head; Table 2, how well the fit reconstructs the scores; Figure 2, the ratio by layer. Beside
them stand components that add up, and an interval for every difference.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import t as student

from plmdepth.report.head_figure import RATIO_COUNTS, draw_ratio_counts
from plmdepth.report.style import save
from plmdepth.results.record import Record

COLUMNS = ("quantity", "protein", "protein_sd", "language", "language_sd", "difference", "low", "high")
_GROUPS = 10
_NORMAL = 1.959964
_SPREAD = tuple(f"log_ratio_variance_by_{axis}" for axis in ("input", "layer", "head"))
_MEANS = ("log_ratio", "reconstruction")
_COMPONENTS = tuple(f"log_ratio_component_{part}" for part in ("input", "layer", "head", "rest"))
PUBLISHED: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("bert_base_text", "prot_bert"): {
        "log_ratio_variance_by_input": "0.493 +- 0.040 / 1.262 +- 0.095",
        "log_ratio_variance_by_layer": "2.973 +- 0.034 / 7.317 +- 0.167",
        "log_ratio_variance_by_head": "2.412 +- 0.041 / 4.620 +- 0.099",
        "reconstruction": "0.770 +- 0.029 / 0.733 +- 0.050",
    },
    ("albert_xxlarge_text", "prot_albert"): {
        "log_ratio_variance_by_input": "0.288 +- 0.021 / 0.752 +- 0.075",
        "log_ratio_variance_by_layer": "2.040 +- 0.010 / 2.986 +- 0.038",
        "log_ratio_variance_by_head": "2.056 +- 0.019 / 3.851 +- 0.044",
        "reconstruction": "0.903 +- 0.011 / 0.769 +- 0.034",
    },
    ("t5_3b_text", "prot_t5_xl_u50"): {
        "log_ratio_variance_by_input": "0.440 +- 0.021 / 0.878 +- 0.042",
        "log_ratio_variance_by_layer": "1.456 +- 0.010 / 2.567 +- 0.033",
        "log_ratio_variance_by_head": "2.658 +- 0.015 / 3.438 +- 0.023",
        "reconstruction": "0.601 +- 0.032 / 0.708 +- 0.037",
    },
    ("xlnet_large_text", "prot_xlnet"): {
        "log_ratio_variance_by_input": "0.828 +- 0.068 / 0.451 +- 0.033",
        "log_ratio_variance_by_layer": "3.459 +- 0.079 / 2.390 +- 0.025",
        "log_ratio_variance_by_head": "2.464 +- 0.062 / 1.732 +- 0.017",
        "reconstruction": "0.638 +- 0.053 / 0.7047 +- 0.025",
    },
}
"""Hart et al., Tables 1 and 2, language / protein, by the options of the pair: as published, which decomposes
probabilities with special tokens among them (``metric.scores=probabilities metric.estimator=published
metric.special_tokens=true``). Their variance "of the ratio" is of its logarithm, by their code."""


def comparison(protein: Record, language: Record) -> pd.DataFrame:
    """Return every number of both models, and their difference, protein less language, with a 95 % interval.

    Variances differ by Welch's interval over the ten disjoint groups of inputs of each, means by the normal one from
    their bootstrap intervals; components have none.
    """
    mine, theirs = protein.result["scalars"], language.result["scalars"]
    rows: list[tuple[Any, ...]] = []
    for name in (*_MEANS, *_SPREAD, *_COMPONENTS):
        first, second = (float("nan") if each[name] is None else float(each[name]) for each in (mine, theirs))
        spreads = [_sd(each, name) for each in (mine, theirs)]
        half = _half_width(name, protein, language, spreads)
        difference = first - second
        rows.append((name, first, spreads[0], second, spreads[1], difference, difference - half, difference + half))
    table = pd.DataFrame(rows, columns=COLUMNS)
    models = (language.curves["model"].iloc[0], protein.curves["model"].iloc[0])
    if models in PUBLISHED:
        table["published (language / protein)"] = table["quantity"].map(PUBLISHED[models]).fillna("")
    return table


def write_comparison(protein: Record, language: Record, folder: Path) -> list[Path]:
    """Write the table, as CSV and Markdown, and the figure; return the files."""
    table = comparison(protein, language)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "comparison.csv", index=False)
    sides = [(each, each.curves.iloc[0]["model"], _n(each)) for each in (language, protein)]
    heading = "\n".join(f"* {model}: {n} sequences, record {each.folder.name}" for each, model, n in sides)
    rows = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    rows += ["| " + " | ".join(map(_cell, row)) + " |" for row in table.itertuples(index=False)]
    text = f"# Position against meaning\n\n{heading}\n\n" + "\n".join(rows) + "\n"
    (folder / "comparison.md").write_text(text, encoding="utf-8")
    panels = [(f"{model}, {n} inputs", each.matrices[RATIO_COUNTS]) for each, model, n in sides]
    figure = draw_ratio_counts(panels, "What heads read: position (above 1) or keys (below)")
    return [folder / "comparison.csv", folder / "comparison.md", *save(figure, folder / "ratio_by_layer")]


def why_not_compared(*records: Record) -> str | None:
    """Say why records cannot be compared: another measurement, or other options of it; None where they can."""
    for record in records:
        if RATIO_COUNTS not in record.matrices:
            return f"{record.folder} is no record of metric=attention_decomposition"
    first, *others = (record.result["identity"]["metric"] for record in records)
    different = any(options != first for options in others)
    return "the records were measured with different options of metric=attention_decomposition" if different else None


def _sd(scalars: Mapping[str, float | None], name: str) -> float:
    value = scalars.get(f"{name}_sd")
    return float("nan") if value is None else float(value)


def _half_width(name: str, protein: Record, language: Record, spreads: list[float]) -> float:
    """Return half the width of the interval of a difference; NaN where there is none."""
    if name in _SPREAD:
        squares = [sd**2 / _GROUPS for sd in spreads]
        total = sum(squares)
        if not total > 0:
            return float("nan")
        freedom = total**2 / sum(square**2 / (_GROUPS - 1) for square in squares)
        return float(student.ppf(0.975, freedom)) * math.sqrt(total)
    intervals = [record.result["scalar_intervals"].get(name) for record in (protein, language)]
    if not all(intervals):
        return float("nan")
    errors = [(each["high"] - each["low"]) / (2 * _NORMAL) for each in intervals if each]
    return _NORMAL * math.hypot(*errors)


def _n(record: Record) -> int:
    return int(record.result["provenance"]["sequences_measured"])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3f}"
    return str(value).replace("_", " ")
