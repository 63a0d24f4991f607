import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pandas as pd
import pytest
import wandb
from wandb.proto import wandb_internal_pb2

from plmdepth.errors import InputError
from plmdepth.results.identity import Identity
from plmdepth.results.record import CURVE_COLUMNS, Record
from plmdepth.results.wandb_sink import WandbSink, WandbTracking, curve_name, epochs, history

CELL = Identity("analyze", "esm2_8m", "demo", "suite", {"model": {"name": "esm2_8m", "dtype": "float32"}, "seed": 3})
LOG_HEADER, BLOCK = 7, 32768


def _point(quantity: str, component: str, layer: int, value: float | None, metric: str = "residual") -> dict[str, Any]:
    return {
        "model": "esm2_8m",
        "family": "esm2",
        "parameters": 7_512_474,
        "n_layers": 2,
        "objective": "masked",
        "dataset": "demo",
        "metric": metric,
        "quantity": quantity,
        "component": component,
        "scope": "",
        "layer": layer,
        "depth": layer / 2,
        "value": value,
        "ci_low": value,
        "ci_high": value,
        "n": 10,
        "unit": "",
    }


CURVES = pd.DataFrame(
    [
        *(_point("kl_to_final", "", layer, [2.0, 1.0, 0.0][layer], "logit_lens") for layer in range(3)),
        *(_point("cosine", "mlp", layer, [-0.5, 0.5][layer - 1]) for layer in (1, 2)),
        # one name is the beginning of another, and one value is undefined
        _point("cosine", "", 1, 0.25),
        _point("cosine", "", 2, None),
    ],
    columns=CURVE_COLUMNS.names,
)


HISTORY = pd.DataFrame(
    [
        {"epoch": epoch, "layer": layer, "train/loss": 2.0 - epoch - layer / 10, "val/loss": 3.0 - epoch}
        for epoch in (0, 1)
        for layer in (0, 6)
    ]
)


@dataclass(frozen=True)
class Log:
    """What a run left on disk."""

    records: list[Any]

    def all(self, kind: str) -> list[Any]:
        return [getattr(record, kind) for record in self.records if record.WhichOneof("record_type") == kind]

    def rows(self) -> list[dict[str, Any]]:
        """History rows without W&B's own keys."""
        rows = []
        for each in self.all("history"):
            row = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in each.item}
            rows.append({key: value for key, value in row.items() if not key.startswith("_")})
        return rows

    def config(self) -> dict[str, Any]:
        updates = [update for record in (*self.all("run"), *self.all("config")) for update in _updates(record)]
        return {update.key or "/".join(update.nested_key): json.loads(update.value_json) for update in updates}

    def summary(self) -> dict[str, Any]:
        updates = [update for record in self.all("summary") for update in record.update]
        return {update.key or "/".join(update.nested_key): json.loads(update.value_json) for update in updates}


def _updates(record: Any) -> Any:
    return record.config.update if hasattr(record, "run_id") else record.update


def _read_log(folder: Path, run: str = "*") -> Log:
    """Read the one .wandb file of a run: a LevelDB log of protocol buffers behind a short header."""
    wandb.teardown()  # only then is the file sure to be whole
    (path,) = folder.rglob(f"run-{run}.wandb")
    data, position, parts, records = path.read_bytes(), LOG_HEADER, b"", []
    while position < len(data):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            records.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return Log(records)


@contextmanager
def _offline_in(folder: Path) -> Iterator[Path]:
    """Let W&B keep everything in a folder; it reads its environment once, when its service starts."""
    wandb.teardown()
    with pytest.MonkeyPatch.context() as patch:
        _redirect(folder, patch)
        yield folder
        wandb.teardown()


def _redirect(folder: Path, patch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
        patch.setenv(name, str(folder))
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_RUN_ID", "WANDB_RUN_GROUP"):
        patch.delenv(name, raising=False)


def _record(folder: Path) -> Record:
    folder.mkdir()
    for name in ("curves.parquet", "sequences.parquet", "layers.csv", "result.json", "config.yaml", "status.json"):
        (folder / name).write_text(name)
    HISTORY.to_parquet(folder / "history.parquet")
    result = {"scalars": {"ed_kl": 1.0, "ed_cosine": None, "accuracy_final": 0.5}}
    return Record(folder=folder, result=result, curves=CURVES, config="")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that went well, with its record beside it."""
    folder = tmp_path_factory.mktemp("published")
    with _offline_in(folder), WandbTracking(mode="offline").run(CELL) as sink:
        sink.publish(_record(folder / "cell"))
    return folder


@pytest.fixture(scope="module")
def log(published: Path) -> Log:
    return _read_log(published)


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[Path]:
    with _offline_in(tmp_path):
        yield tmp_path


def test_every_curve_is_bound_to_its_axis_by_its_exact_name(log: Log) -> None:
    metrics = log.all("metric")
    assert {metric.name: metric.step_metric for metric in metrics} == {
        "layer": "",
        "depth": "",
        "curves/logit_lens/kl_to_final": "layer",
        "curves/residual/cosine": "layer",
        "curves/residual/cosine/mlp": "layer",
        "epoch": "",
        **{f"{split}/loss/layer_{layer}": "epoch" for split in ("train", "val") for layer in ("00", "06")},
    }
    assert all(metric.glob_name == "" for metric in metrics)


def test_every_logged_curve_is_among_the_bound_ones(log: Log) -> None:
    bound = {metric.name for metric in log.all("metric")}
    logged = {key for row in log.rows() for key in row if not key.startswith("table/")}
    assert logged == bound


def test_the_history_has_one_row_a_layer_with_its_depth(log: Log) -> None:
    rows = [row for row in log.rows() if "layer" in row]
    assert [(row["layer"], row["depth"]) for row in rows] == [(0, 0.0), (1, 0.5), (2, 1.0)]


def test_a_row_of_the_history_holds_the_values_of_its_layer(log: Log) -> None:
    rows = [row for row in log.rows() if "layer" in row]
    assert rows[0] == {"layer": 0, "depth": 0.0, "curves/logit_lens/kl_to_final": 2.0}
    assert rows[1] == {
        "layer": 1,
        "depth": 0.5,
        "curves/logit_lens/kl_to_final": 1.0,
        "curves/residual/cosine/mlp": -0.5,
        "curves/residual/cosine": 0.25,
    }


def test_the_training_has_one_row_an_epoch_with_the_losses_of_every_layer(log: Log) -> None:
    assert [row for row in log.rows() if "epoch" in row] == [
        {
            **{"epoch": epoch, "train/loss/layer_00": 2.0 - epoch, "train/loss/layer_06": 2.0 - epoch - 0.6},
            **{"val/loss/layer_00": 3.0 - epoch, "val/loss/layer_06": 3.0 - epoch},
        }
        for epoch in (0, 1)
    ]


def test_the_table_is_logged_once_with_every_point(log: Log) -> None:
    tables = [row for row in log.rows() if any(key.startswith("table/") for key in row)]
    assert len(tables) == 1
    assert tables[0]["table/curves/nrows"] == 7
    assert tables[0]["table/curves/ncols"] == 17
    assert len(log.rows()) == 4 + 2


def test_the_table_holds_the_exact_points(published: Path) -> None:
    (path,) = (published / "wandb").glob("offline-run-*/files/media/table/**/*.table.json")
    table = json.loads(path.read_text())
    assert table["columns"] == CURVE_COLUMNS.names
    third = dict(zip(table["columns"], table["data"][3], strict=True))
    assert third == _point("cosine", "mlp", 1, -0.5)


def test_the_run_is_named_after_its_cell(log: Log) -> None:
    (run,) = log.all("run")
    assert (run.project, run.run_group, run.job_type) == ("plmdepth", "esm2_8m", "analyze")
    assert run.display_name == "esm2_8m demo suite"
    assert run.run_id == f"esm2_8m-suite-{CELL.id}"


def test_the_configuration_is_flat_and_says_which_model_it_is(log: Log) -> None:
    config = {key: value for key, value in log.config().items() if not key.startswith("_wandb")}
    assert config == {
        "entry": "analyze",
        "dataset": "demo",
        "model.name": "esm2_8m",
        "model.dtype": "float32",
        "seed": 3,
        "family": "esm2",
        "parameters": 7_512_474,
        "n_layers": 2,
        "objective": "masked",
    }


def test_scalars_go_to_the_summary_and_undefined_ones_do_not(log: Log) -> None:
    summary = log.summary()
    assert summary["ed_kl"] == 1.0
    assert summary["accuracy_final"] == 0.5
    assert "ed_cosine" not in summary


def test_the_record_itself_goes_along(log: Log) -> None:
    (artifact,) = [each for each in log.all("artifact") if each.type == "record"]
    assert artifact.name == "record-cell"
    names = {entry.path for entry in artifact.manifest.contents}
    tables = {"curves.parquet", "sequences.parquet", "history.parquet", "layers.csv"}
    assert names == tables | {"result.json", "config.yaml"}


def test_a_record_without_sequences_and_without_a_training_is_sent_as_it_is(tmp_path: Path) -> None:
    record, handle = _record(tmp_path / "cell"), MagicMock()
    for name in ("sequences", "history"):
        (record.folder / f"{name}.parquet").unlink()
    with _offline_in(tmp_path):
        WandbSink(handle).publish(record)
    (artifact,) = handle.log_artifact.call_args.args
    assert set(artifact.manifest.entries) == {"curves.parquet", "layers.csv", "result.json", "config.yaml"}
    assert "epoch" not in {call.args[0] for call in handle.define_metric.call_args_list}


def test_a_run_that_went_well_is_closed_as_such(log: Log) -> None:
    assert [record.exit_code for record in log.all("exit")] == [0]


@pytest.mark.parametrize("error", [ValueError("boom"), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_a_run_is_closed_as_failed_when_its_body_raises(offline: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, WandbTracking().run(CELL):
        raise error
    assert caught.value is error
    assert [record.exit_code for record in _read_log(offline).all("exit")] == [1]


@pytest.mark.parametrize("project", ["a/b", "a:b", "100%", "what?", "c#", "back\\slash", "", "x" * 129])
def test_a_name_that_no_project_can_have_is_refused_at_once(project: str) -> None:
    with pytest.raises(InputError, match="is no name of a project"):
        WandbTracking(project=project)


def test_nobody_is_logged_in_is_told_before_any_work(
    offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    WandbTracking(mode="offline").check()
    with pytest.raises(InputError, match=r"there is no key; run wandb login, or take tracking.mode=offline"):
        WandbTracking(mode="online").check()
    monkeypatch.setenv("WANDB_API_KEY", "no key at all")
    with pytest.raises(InputError, match=r"WANDB_API_KEY.*; run wandb login, or take tracking.mode=offline"):
        WandbTracking(mode="online").check()
    assert list(offline.glob("wandb/*run*")) == []


def test_a_trained_model_has_no_curves_to_send(tmp_path: Path) -> None:
    record, handle = _record(tmp_path / "cell"), MagicMock()
    (record.folder / "history.parquet").unlink()
    with _offline_in(tmp_path):
        WandbSink(handle).publish(replace(record, curves=CURVES.iloc[:0]))
    handle.log.assert_not_called()
    handle.summary.update.assert_called_once_with({"ed_kl": 1.0, "accuracy_final": 0.5})


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("error", [None, ValueError("boom")], ids=str)
def test_a_closed_run_takes_nothing_more(error: Exception | None) -> None:
    handles = []
    with suppress(ValueError), WandbTracking().run(CELL) as sink:
        handles.append(sink.handle)
        if error is not None:
            raise error
    with pytest.raises(wandb.errors.UsageError, match="finished"):
        handles[0].log({"layer": 0})


def test_two_cells_in_one_process_are_two_closed_runs(offline: Path) -> None:
    cells = [Identity("analyze", "esm2_8m", "demo", "suite", {"seed": seed}) for seed in (0, 1)]
    for cell in cells:
        with WandbTracking().run(cell):
            pass
    logs = [_read_log(offline, f"esm2_8m-suite-{cell.id}") for cell in cells]
    assert [log.config()["seed"] for log in logs] == [0, 1]
    assert [[record.exit_code for record in log.all("exit")] for log in logs] == [[0], [0]]


def test_history_has_a_row_a_layer_in_order() -> None:
    frame = pd.DataFrame([_point("norm", "residual", layer, float(layer)) for layer in (2, 0, 1)])
    assert history(frame) == [
        {"layer": 0, "depth": 0.0, "curves/residual/norm/residual": 0.0},
        {"layer": 1, "depth": 0.5, "curves/residual/norm/residual": 1.0},
        {"layer": 2, "depth": 1.0, "curves/residual/norm/residual": 2.0},
    ]


def test_history_puts_all_curves_of_a_layer_into_one_row() -> None:
    frame = pd.DataFrame([_point("norm", "residual", 1, 3.0), _point("entropy", "", 1, 0.5, "logit_lens")])
    assert history(frame) == [
        {"layer": 1, "depth": 0.5, "curves/residual/norm/residual": 3.0, "curves/logit_lens/entropy": 0.5}
    ]


def test_history_leaves_out_undefined_values() -> None:
    frame = pd.DataFrame([_point("norm", "residual", 1, 3.0), _point("norm", "mlp", 1, float("nan"))])
    assert history(frame) == [{"layer": 1, "depth": 0.5, "curves/residual/norm/residual": 3.0}]


def test_history_counts_layers_in_whole_numbers() -> None:
    (row,) = history(pd.DataFrame([_point("norm", "residual", 1, 3.0)]))
    assert type(row["layer"]) is int


def test_epochs_come_in_order_whatever_the_order_of_the_table() -> None:
    rows = epochs(HISTORY.iloc[::-1])
    assert [row["epoch"] for row in rows] == [0, 1]
    assert type(rows[0]["epoch"]) is int
    assert rows[1]["train/loss/layer_06"] == pytest.approx(0.4)


def test_epochs_leave_out_undefined_values_and_what_is_no_metric() -> None:
    table = HISTORY.assign(**{"val/loss": [1.0, float("nan"), 1.0, 1.0], "seconds": 2.0})
    assert set(epochs(table)[0]) == {"epoch", "train/loss/layer_00", "train/loss/layer_06", "val/loss/layer_00"}


def test_a_curve_has_the_same_name_for_every_model() -> None:
    assert curve_name("logit_lens", "entropy", "") == "curves/logit_lens/entropy"
    assert curve_name("residual", "cosine", "mlp") == "curves/residual/cosine/mlp"
