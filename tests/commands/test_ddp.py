"""Several processes share a cell: the numbers are those of one, the first alone writes, and no failure hangs."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from tests.commands.probing import CONF, FEW, invoke, refusal

ROOT = CONF.parent
TWO = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")
CELL = ("metric=logit_lens", "dataset.size=7", "dataset.tokens_per_batch=100")
LIMIT = 300  # seconds after which a run counts as hanging


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


def command(folder: Path, script: Path, *arguments: str, **variables: str) -> Ended:
    environment = os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)} | variables
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment,
        timeout=LIMIT,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def only_record(folder: Path) -> Path:
    (record,) = {path.parent for path in (folder / "outputs").rglob("status.json")}
    return record


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    assert invoke(folder, "analyze", *CELL) == 0
    return only_record(folder)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    folder = tmp_path_factory.mktemp("together")
    ended = command(folder, ROOT / "analyze.py", *CELL, *TWO)
    assert ended.code == 0, ended.err
    return only_record(folder), ended


def test_two_processes_measure_what_one_measures(alone: Path, together: tuple[Path, Ended]) -> None:
    ours, theirs = (pd.read_parquet(folder / "curves.parquet") for folder in (together[0], alone))
    numbers = ["value", "ci_low", "ci_high"]
    np.testing.assert_allclose(ours[numbers], theirs[numbers], rtol=1e-9, atol=1e-12)
    pd.testing.assert_frame_equal(ours.drop(columns=numbers), theirs.drop(columns=numbers))
    one, two = (json.loads((folder / "result.json").read_text()) for folder in (alone, together[0]))
    assert two["provenance"]["residues_measured"] == one["provenance"]["residues_measured"]
    assert (one["provenance"]["processes"], two["provenance"]["processes"]) == (1, 2)


def test_the_sequences_are_listed_once_and_in_order(alone: Path, together: tuple[Path, Ended]) -> None:
    ours, theirs = (pq.read_table(folder / "sequences.parquet") for folder in (together[0], alone))
    assert theirs.num_rows == 7
    assert ours.equals(theirs)


def test_devices_are_no_part_of_the_identity(alone: Path, together: tuple[Path, Ended]) -> None:
    assert together[0].name == alone.name


def test_the_first_process_alone_writes_and_prints(alone: Path, together: tuple[Path, Ended]) -> None:
    folder, ended = together
    assert ended.err == ""
    assert ended.out.count("record: ") == ended.out.count("tiny_masked on demo") == 1
    names = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert names == {str(path.relative_to(alone)) for path in alone.rglob("*")}
    (outputs,) = folder.parents[5].iterdir()  # the others' scratch is gone
    assert outputs.name == "outputs"


def test_two_processes_train_the_heads_of_one(tmp_path: Path) -> None:
    quick = ("probe.epochs=2", "probe.batch_size=16", "probe.n_replicates=10", "dataset.train_size=300")
    arguments = ("probe=mlp", "dataset=demo_family", *FEW[1:], *quick)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    assert invoke(folders[0], "train", *arguments) == 0
    ended = command(folders[1], ROOT / "train.py", *arguments, *TWO)
    assert (ended.code, ended.err) == (0, "")
    one, two = (only_record(folder) for folder in folders)
    assert one.name == two.name
    for name in ("curves", "history"):
        numbers = [pd.read_parquet(folder / f"{name}.parquet").select_dtypes("number") for folder in (one, two)]
        np.testing.assert_allclose(*numbers, rtol=1e-5, atol=1e-6)
    ours, theirs = (load_file(folder / "heads.safetensors") for folder in (two, one))
    for name, tensor in theirs.items():
        np.testing.assert_allclose(ours[name], tensor, rtol=1e-4, atol=1e-5)


FAILING = """
import os, signal, sys
from pathlib import Path
from plmdepth.commands.entry import main
from plmdepth.errors import InputError

def task(config, console):
    if "PLMDEPTH_PROCESS" in os.environ and {at_the_start}:
        raise ValueError("boom")
    from plmdepth.analysis.module import AnalysisModule
    from plmdepth.commands.analyze import analyze
    def fail(*_):
        {failure}
    if "PLMDEPTH_PROCESS" in os.environ or {everywhere}:
        AnalysisModule.test_step = fail
    return analyze(config, console)

sys.exit(main(Path({conf!r}), "analyze", task))
"""


def failing(
    folder: Path, failure: str, everywhere: bool = False, at_the_start: bool = False
) -> tuple[Ended, dict[str, str]]:
    script, where = folder / "failing.py", {"everywhere": everywhere, "at_the_start": at_the_start}
    script.write_text(FAILING.format(failure=failure, conf=str(CONF), **where))
    ended = command(folder, script, *CELL, *TWO)
    assert {path.name for path in folder.iterdir()} == {"failing.py", "outputs"}  # TMPDIR is here
    record = only_record(folder)
    assert {path.name for path in record.iterdir()} - {"error.txt"} == {"status.json", "config.yaml"}
    return ended, json.loads((record / "status.json").read_text())


def test_a_failure_in_another_process_ends_the_run(tmp_path: Path) -> None:
    ended, status = failing(tmp_path, "raise ValueError('boom')")
    assert ended.code == 1
    trace = only_record(tmp_path) / "error.txt"
    assert ended.err.splitlines()[-1].startswith(
        "failed: WorkerFailedError: process 1 of this run ended with code 1; traceback: "
    )
    assert ended.err.splitlines()[-1].endswith(str(trace.relative_to(tmp_path)))
    assert "ValueError: boom\n" in trace.read_text()
    assert (status["state"], status["error"]) == (
        "failed",
        "WorkerFailedError: process 1 of this run ended with code 1",
    )


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_run(tmp_path: Path) -> None:
    ended, status = failing(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert ended.code == 1
    assert "process 1 of this run ended with SIGKILL" in ended.err.splitlines()[-1]
    assert status["state"] == "failed"


@pytest.mark.slow
def test_a_process_that_never_comes_to_meet_the_first_ends_the_run(tmp_path: Path) -> None:
    ended, status = failing(tmp_path, "pass", at_the_start=True)  # the first waits where no signal reaches it
    assert ended.code == 1
    assert "ValueError: boom\n" in ended.err
    assert status["state"] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("everywhere", [False, True])
def test_wrong_input_that_shows_late_is_told_once(tmp_path: Path, everywhere: bool) -> None:
    ended, status = failing(tmp_path, "raise InputError('a bad protein; give another')", everywhere)
    assert (ended.code, ended.err) == (2, "error: a bad protein; give another\n")
    assert status["state"] == "failed"


@pytest.mark.slow
def test_more_processes_than_batches_is_no_trouble(tmp_path: Path, alone: Path) -> None:
    ended = command(tmp_path, ROOT / "analyze.py", *CELL[:2], "dataset.tokens_per_batch=100000", *TWO)
    assert (ended.code, ended.err) == (0, "")
    ours, theirs = (pd.read_parquet(folder / "curves.parquet") for folder in (only_record(tmp_path), alone))
    np.testing.assert_allclose(ours["value"], theirs["value"], rtol=1e-4, atol=1e-5)  # other batches: float32


@pytest.mark.slow
def test_the_parts_of_a_combined_cell_are_shared(tmp_path: Path) -> None:
    ended = command(tmp_path, ROOT / "analyze.py", "metric=effective_depth", *CELL[1:], *TWO)
    assert (ended.code, ended.err) == (0, "")
    states = [json.loads(path.read_text())["state"] for path in (tmp_path / "outputs").rglob("status.json")]
    assert len(states) > 2
    assert set(states) == {"done"}


@pytest.mark.parametrize(
    ("entry", "arguments", "says"),
    [
        ("analyze", ["-m", "trainer=ddp", "seed=0,1"], "run one cell at a time with trainer=ddp"),
        ("analyze", ["-m", "trainer=cpu,ddp"], "run one cell at a time with trainer=ddp"),
        ("analyze", ["trainer=ddp", "trainer.accelerator=gpu"], "trainer: "),
        ("analyze", ["trainer=ddp", "+trainer.num_nodes=2"], "trainer=ddp shares a cell on one machine"),
        ("analyze", ["trainer=ddp", "model.placement=auto"], "model.placement=auto runs in one process"),
        ("analyze", ["trainer=cpu", "trainer.devices=2"], "trainer.devices: 2 devices take as many processes"),
        ("train", ["trainer=ddp"], "pretraining runs in one process"),
        ("train", ["trainer=ddp", "probe=tuned_lens"], "tuned_lens runs in one process"),
        (
            "train",
            ["probe=linear", "dataset=demo_family", *FEW, *TWO, "probe.cache=false"],
            "trainer=ddp shares the pass of the model whose features are kept",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_shared_is_refused_in_one_line(
    entry: str, arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["dataset.size=4"] if entry == "analyze" else []
    line = refusal(capsys, tmp_path, entry, *arguments, *small)
    assert line.startswith(f"error: {says}")


def test_processes_that_something_else_started_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert "without torchrun" in refusal(capsys, tmp_path, "analyze", "trainer=ddp", "dataset.size=4")
