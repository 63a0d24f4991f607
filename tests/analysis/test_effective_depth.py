"""Planted depth, read through records, and a record that is put together from others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from plmdepth.analysis.effective_depth import DepthCell, EffectiveDepth, depth_identity
from plmdepth.cells.cell import Part, run_cell
from plmdepth.controls.control import Control
from plmdepth.controls.dead_layers import DeadLayers
from plmdepth.errors import InputError
from plmdepth.language_models.anatomy import Anatomy
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.spelling.spelling import Spelling
from plmdepth.metrics.effective_depth import (
    centre_of_mass,
    first_layer_above,
    first_layer_below_half,
    last_turn_to_positive,
)
from plmdepth.metrics.layer_skip import LayerSkip
from plmdepth.metrics.logit_lens import LogitLens
from plmdepth.metrics.metric import Metric, Suite
from plmdepth.metrics.residual import Residual
from plmdepth.results.record import CURVE_COLUMNS, Record, read_record
from tests.analysis.test_run import analysis, record_of

PARTS: dict[str, Metric] = {
    "suite": Suite({"logit_lens": LogitLens(), "residual": Residual()}),
    "layer_skip": LayerSkip(components=("layer",)),
}
CONFIDENCE = 0.25  # of the planted models in the letter that they see, before layer 1


class Layer(nn.Module):
    """Multiplies its input by (1 + gain): what it adds is the input times the gain."""

    def __init__(self, gain: float, width: int) -> None:
        super().__init__()
        self.attention, self.mlp = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.attention.weight = nn.Parameter(gain * torch.eye(width))
        self.mlp.weight = nn.Parameter(torch.zeros(width, width))

    def forward(self, state: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return state + self.attention(state) + self.mlp(state)


class Multiplier(nn.Module):
    """Its state, and so its logits, is one number on the letter A: ``CONFIDENCE`` times (1 + gain) of all layers."""

    def __init__(self, gains: Sequence[float], spelling: Spelling) -> None:
        super().__init__()
        width = max([*spelling.letters.values(), spelling.mask or 0]) + 1
        self.letter = spelling.letters["A"]
        self.width = width
        self.layers = nn.ModuleList(Layer(gain, width) for gain in gains)

    def forward(self, input_ids: Tensor, **_: Any) -> Tensor:
        state = torch.zeros(*input_ids.shape, self.width)
        state[..., self.letter] = CONFIDENCE
        for layer in self.layers:
            state = layer(state)
        return state

    def stack(self, spelling: Spelling) -> LayerStack:
        layers: list[Any] = list(self.layers)
        attention, mlp = [layer.attention for layer in layers], [layer.mlp for layer in layers]
        anatomy = Anatomy(layers, attention, mlp, nn.Identity(), nn.Identity(), wiring="parallel", causal=False)
        return LayerStack(self, anatomy, spelling)


@dataclass(frozen=True)
class Planted(Control):
    """A stack whose layers multiply by (1 + gain)."""

    gains: Sequence[float] = ()

    def stack(self, stack: LayerStack) -> LayerStack:
        return Multiplier(self.gains, stack.spelling).stack(stack.spelling)


@dataclass(frozen=True)
class LivelyThenDead(DeadLayers):
    """Weights large enough that every layer does something, and a dead upper half."""

    def stack(self, stack: LayerStack) -> LayerStack:
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for parameter in stack.module.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
        return super().stack(stack)


def part_records(folder: Path, control: Control, family: str = "esm2") -> dict[str, Record]:
    cells = {
        name: replace(analysis(family), metric=metric, metric_name=name, control=control)
        for name, metric in PARTS.items()
    }
    return {name: record_of(cell, folder / name / cell.identity.id) for name, cell in cells.items()}


@dataclass(frozen=True)
class Given(DepthCell):
    """A cell of records that are given, wherever they lie."""

    given: Mapping[str, Record]

    @property
    def records(self) -> Mapping[str, Record]:  # type: ignore[override]
        return self.given


def combined(parts: dict[str, Record], folder: Path) -> Record:
    cells = {name: Part(analysis(metric_name=name), "") for name in parts}
    run_cell(Given("effective_depth", cells, folder, parts), folder, "seed: 0\n")
    return read_record(folder)


def planted(gains: Sequence[float], folder: Path) -> dict[str, float | None]:
    return combined(part_records(folder, Planted(gains)), folder / "cell").result["scalars"]


def expected_skip(n_alive: int, n_layers: int) -> float:
    """Every live layer changes every later live one alike, so the row of layer s has (alive - s) of (L - s) values."""
    weights = {layer: (n_alive - layer) / (n_layers - layer) for layer in range(1, n_alive)}
    return sum(layer * weight for layer, weight in weights.items()) / sum(weights.values())


def expected_kl_depth(gains: Sequence[float]) -> int:
    """The layers' predictions are ``softmax([x, 0, ..., 0])`` of twenty letters with a known x."""
    x = CONFIDENCE * np.cumprod([1, *(1 + gain for gain in gains)])
    total = np.logaddexp(x, np.log(19))
    likely, rest = x - total, np.log(19) - total
    divergence = np.exp(likely) * (likely - likely[-1]) + np.exp(rest) * (rest - rest[-1])
    return int(np.argmax(divergence < divergence.max() / 2))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    return part_records(tmp_path_factory.mktemp("parts"), Control())


@pytest.fixture(scope="module")
def record(parts: dict[str, Record], tmp_path_factory: pytest.TempPathFactory) -> Record:
    return combined(parts, tmp_path_factory.mktemp("combined") / "cell")


@pytest.mark.parametrize("family", ["esm2", "progen2"])
def test_a_dead_upper_half_is_read_as_at_most_half_by_every_definition(family: str, tmp_path: Path) -> None:
    scalars = combined(part_records(tmp_path, LivelyThenDead(), family), tmp_path / "cell").result["scalars"]
    assert {"ed_kl", "ed_overlap", "ed_cosine", "ed_skip"} <= scalars.keys()
    shares = {name: value for name, value in scalars.items() if name.endswith("_depth")}
    assert all(value is None or value <= 0.5 for value in shares.values())
    assert None not in (shares["ed_kl_depth"], shares["ed_overlap_depth"], shares["ed_skip_depth"])
    assert 0 < scalars["ed_skip"] <= 2  # layer 3, the last live one, has nothing alive above it


def test_layers_that_work_alike_are_centred_on_half_of_those_that_work(tmp_path: Path) -> None:
    alive = planted([1.0] * 8, tmp_path / "alive")
    assert alive["ed_skip"] == pytest.approx(4)  # half, though nothing is dead
    dead = planted([1.0] * 4 + [0.0] * 4, tmp_path / "dead")
    assert dead["ed_skip"] == pytest.approx(expected_skip(4, 8))
    assert dead["ed_skip_depth"] == pytest.approx(expected_skip(4, 8) / 8)
    assert dead["ed_kl"] == expected_kl_depth([1.0] * 4 + [0.0] * 4) == 3
    assert alive["ed_kl"] == expected_kl_depth([1.0] * 8) == 4
    assert dead["ed_overlap"] == 0  # the top five of twenty letters are already there
    assert dead["ed_cosine"] is None  # every layer strengthens: there is no turn to see


def test_kl_reads_half_exactly_where_the_last_live_layer_decides(tmp_path: Path) -> None:
    scalars = planted([0, 0, 0, 15.0, 0, 0, 0, 0], tmp_path)
    assert (scalars["ed_kl"], scalars["ed_kl_depth"]) == (4, 0.5)
    assert scalars["ed_skip"] is None  # nothing alive is above it


def test_cosine_reads_half_exactly_where_the_last_live_layer_turns_to_writing(tmp_path: Path) -> None:
    scalars = planted([-0.5, -0.5, -0.5, 7.0, 0, 0, 0, 0], tmp_path)
    assert (scalars["ed_cosine"], scalars["ed_cosine_depth"]) == (4, 0.5)


def test_the_depths_are_those_of_the_parts_with_their_intervals(parts: dict[str, Record], record: Record) -> None:
    for kind in ("scalars", "scalar_intervals"):
        theirs = {**parts["suite"].result[kind], **parts["layer_skip"].result[kind]}
        assert record.result[kind] == {name: value for name, value in theirs.items() if name.startswith("ed_")}
    assert record.result["sources"] == {name: part.folder.name for name, part in parts.items()}


def test_the_depths_follow_from_the_curves_and_matrices_that_are_kept(record: Record) -> None:
    curves = {
        name: torch.tensor([np.nan] * int(rows["layer"].min()) + rows["value"].tolist(), dtype=torch.float64)
        for name, rows in record.curves.groupby("quantity")
    }
    follows = {
        "ed_kl": first_layer_below_half(curves["kl_to_final"]),
        "ed_overlap": first_layer_above(curves["top5_overlap"], 0.2),
        "ed_cosine": last_turn_to_positive(curves["cosine"]),
        "ed_skip": centre_of_mass(torch.tensor(record.matrices["effect/layer"]).nanmean(-1)),
    }
    kept = {name: np.nan if value is None else value for name, value in record.result["scalars"].items()}
    assert {name: value.item() for name, value in follows.items()} == pytest.approx(
        {name: kept[name] for name in follows}, nan_ok=True
    )


def test_only_what_the_definitions_read_is_kept(parts: dict[str, Record], record: Record) -> None:
    keys = ["metric", "quantity", "component"]
    assert {tuple(key) for key in record.curves[keys].to_numpy()} == {
        ("logit_lens", "kl_to_final", ""),
        ("logit_lens", "top5_overlap", ""),
        ("residual", "cosine", "layer"),
        ("layer_skip", "output_effect", "layer"),
    }
    theirs = parts["suite"].curves.query("quantity == 'kl_to_final'").reset_index(drop=True)
    pd.testing.assert_frame_equal(record.curves.query("quantity == 'kl_to_final'").reset_index(drop=True), theirs)
    assert list(record.matrices) == ["effect/layer"]
    np.testing.assert_array_equal(record.matrices["effect/layer"], parts["layer_skip"].matrices["effect/layer"])


def test_the_record_is_as_complete_as_any_other(parts: dict[str, Record], record: Record) -> None:
    names = {path.name for path in record.folder.iterdir()}
    assert names == {path.name for path in parts["layer_skip"].folder.iterdir()}
    assert pq.read_schema(record.folder / "curves.parquet").equals(CURVE_COLUMNS)
    tables = [pd.read_parquet(each.folder / "sequences.parquet") for each in (record, parts["suite"])]
    pd.testing.assert_frame_equal(*tables)
    provenance = record.result["provenance"]
    assert provenance["sequences_measured"] == 12
    spent = sum(part.result["provenance"]["wall_seconds"] for part in parts.values())
    assert spent <= provenance["wall_seconds"] <= spent + 5


def test_a_part_that_is_another_cell_makes_it_another_cell() -> None:
    cell = analysis().identity
    options = {"seed": 0, "metric": {"is": "LayerSkip", "reduction": "mean"}}
    other = replace(cell, measurement="layer_skip", facts={**cell.facts, **options})
    both = depth_identity("effective_depth", {"suite": cell, "layer_skip": other})
    assert str(both) == "esm2 x demo x effective_depth"
    assert both.facts["proteins"] == cell.facts["proteins"]
    assert both.facts["metric"]["parts"]["layer_skip"] == {"id": other.id, "is": "LayerSkip", "reduction": "mean"}
    changed = replace(other, facts={**other.facts, "lens": "sha256:00"})
    assert depth_identity("effective_depth", {"suite": cell, "layer_skip": changed}).id != both.id


def test_what_the_parts_do_not_share_is_no_fact_of_the_whole() -> None:
    cell = analysis().identity
    seen = replace(cell, facts={**cell.facts, "lens": "sha256:00"})
    assert "lens" not in depth_identity("effective_depth", {"suite": seen, "layer_skip": cell}).facts


def test_two_parts_with_the_same_depth_are_refused(parts: dict[str, Record], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="both suite and again measure ed_kl; leave one of them out"):
        combined({"suite": parts["suite"], "again": parts["suite"]}, tmp_path / "cell")
    assert not (tmp_path / "cell").exists()


def test_parts_without_any_depth_are_refused(parts: dict[str, Record], tmp_path: Path) -> None:
    record = replace(parts["suite"], result={**parts["suite"].result, "scalars": {"accuracy_final": 0.5}})
    with pytest.raises(InputError, match="none of suite measures an effective depth"):
        combined({"suite": record}, tmp_path / "cell")


def test_all_that_a_part_has_is_kept_for_a_definition_of_its_own(parts: dict[str, Record], tmp_path: Path) -> None:
    result = {**parts["layer_skip"].result, "scalars": {"ed_new": 1.0, "ed_new_depth": 0.5}}
    result["scalar_intervals"] = {"ed_new": None, "ed_new_depth": None}
    record = combined({"layer_skip": replace(parts["layer_skip"], result=result)}, tmp_path / "cell")
    pd.testing.assert_frame_equal(record.curves, parts["layer_skip"].curves)
    assert record.matrices.keys() == parts["layer_skip"].matrices.keys()


@pytest.mark.parametrize(("parts", "message"), [({}, "metric.parts is empty"), ({"a": 3}, "metric.parts.a is not a")])
def test_what_cannot_be_a_part_is_refused(parts: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        EffectiveDepth(parts)
