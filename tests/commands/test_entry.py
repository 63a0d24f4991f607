import errno
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import DictConfig
from rich.console import Console

from plmdepth.commands.analyze import analyze
from plmdepth.commands.entry import main
from plmdepth.errors import InputError
from plmdepth.results.atomic import write_json
from plmdepth.results.cell_folder import writing_cell
from plmdepth.results.record import read_record

ROOT = Path(__file__).parents[2]
SMALL = ("model.miniature=true", "dataset.size=4")


class Cells:
    """A task that notes its cells and ends each as told; it leaves no record."""

    def __init__(self, *endings: BaseException | None) -> None:
        self.seeds: list[int] = []
        self._endings = endings

    def __call__(self, config: DictConfig, console: Console) -> Path:
        self.seeds.append(config.seed)
        ending = self._endings[len(self.seeds) - 1] if self._endings else None
        if ending is not None:
            raise ending
        return Path(f"outputs/analyze/tiny_masked/demo/suite/seed {config.seed}")


Run = Callable[..., int]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    return folder


@pytest.fixture
def run(conf: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(task: Callable[[DictConfig, Console], Path], *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["analyze.py", *arguments])
        return main(conf, "analyze", task)

    return run


def _only_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_cell_that_ends_well_is_code_0(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    cells = Cells()
    assert run(cells, "seed=7") == 0
    assert cells.seeds == [7]
    assert capsys.readouterr().err == ""


def test_a_single_cell_has_no_summary(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run(Cells())
    assert capsys.readouterr().out == ""


def test_wrong_input_is_code_2_and_one_line(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Cells(InputError("no such file: a.fasta;\n  give another"))) == 2
    assert _only_line(capsys) == "error: no such file: a.fasta; give another"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "permission denied"),
    ],
)
def test_storage_that_refuses_is_code_2_and_says_where_and_what_to_do(
    run: Run, capsys: pytest.CaptureFixture[str], number: int, reason: str
) -> None:
    assert run(Cells(OSError(number, os.strerror(number), "/full/result.json"))) == 2
    line = _only_line(capsys)
    assert line.startswith(f"error: cannot write the record: {reason} (/full/result.json)")
    assert "outputs=DIR" in line


def test_outputs_below_a_file_are_refused_in_one_line(
    run: Run, capsys: pytest.CaptureFixture[str], empty_folder: Path
) -> None:
    (empty_folder / "notes.txt").touch()

    def task(config: DictConfig, console: Console) -> Path:
        with writing_cell(Path(config.outputs) / "cell", "") as staging:
            return staging

    assert run(task, "outputs=notes.txt") == 2
    assert "notes.txt" in _only_line(capsys)


@pytest.mark.parametrize(
    "error", [ValueError("boom"), OSError(errno.EIO, "boom")], ids=lambda error: type(error).__name__
)
def test_any_other_error_is_code_1_and_one_line_with_the_file_of_its_trace(
    run: Run, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    assert run(Cells(error)) == 1
    line = _only_line(capsys)
    assert line.startswith(f"failed: {type(error).__name__}: ")
    assert line.endswith("boom; traceback: outputs/error.txt")
    trace = Path("outputs/error.txt").read_text().splitlines()
    assert (trace[0], trace[-1]) == ("Traceback (most recent call last):", line[8:].partition(";")[0])


def test_an_error_within_a_cell_leaves_its_trace_in_the_folder_of_the_record(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def task(config: DictConfig, console: Console) -> Path:
        with writing_cell(Path(config.outputs) / "cell", ""):
            raise ValueError("boom")

    assert run(task) == 1
    assert _only_line(capsys) == "failed: ValueError: boom; traceback: outputs/cell/error.txt"
    assert "ValueError: boom" in Path("outputs/cell/error.txt").read_text()
    assert not Path("outputs/error.txt").exists()


def test_an_error_whose_trace_cannot_be_written_is_printed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("outputs").write_text("a file")
    assert run(Cells(ValueError("boom"))) == 1
    lines = capsys.readouterr().err.splitlines()
    assert (lines[0][:27], lines[-1]) == ("failed: Traceback (most rec", "ValueError: boom")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate")]
)
def test_memory_that_does_not_suffice_is_told_with_remedies(
    run: Run, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    error = error if isinstance(error, MemoryError) else RuntimeError(f"{error} memory: you tried to allocate")
    assert run(Cells(error)) == 1
    assert _only_line(capsys).startswith("failed: memory does not suffice; lower dataset.tokens_per_batch")


def exit_of_the_trainer() -> SystemExit:
    """Return what the trainer makes of an interruption."""
    stop = SystemExit(1)
    stop.__context__ = KeyboardInterrupt()
    return stop


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), exit_of_the_trainer()], ids=["keyboard", "trainer"])
def test_an_interruption_ends_a_sweep_with_one_line(
    run: Run, capsys: pytest.CaptureFixture[str], stop: BaseException
) -> None:
    cells = Cells(stop, None)
    assert run(cells, "-m", "seed=0,1") == 1
    assert cells.seeds == [0]
    assert capsys.readouterr().err == "stopped; the same command starts again, with what is kept already\n"


def test_any_other_exit_is_not_held_back(run: Run) -> None:
    with pytest.raises(SystemExit):
        run(Cells(SystemExit(3)))


def test_a_sweep_runs_every_cell_and_sums_up(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    cells = Cells()
    assert run(cells, "-m", "seed=0,1,2") == 0
    assert cells.seeds == [0, 1, 2]
    out = capsys.readouterr().out
    assert "3 cells" in out
    assert [out.count(f"seed {seed}") for seed in (0, 1, 2)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("endings", "code"),
    [
        ([None, InputError("bad"), None], 2),
        ([ValueError("boom"), None, None], 1),
        ([InputError("bad"), ValueError("boom"), None], 1),
        ([ValueError("boom"), InputError("bad"), None], 1),
        ([None, None, OSError(errno.ENOSPC, "full")], 2),
    ],
)
def test_a_sweep_goes_on_after_a_bad_cell_and_ends_with_the_worst_code(
    run: Run, endings: list[BaseException | None], code: int
) -> None:
    cells = Cells(*endings)
    assert run(cells, "-m", "seed=0,1,2") == code
    assert cells.seeds == [0, 1, 2]


def test_the_summary_of_a_sweep_says_why_a_cell_was_bad(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run(Cells(None, InputError("a.fasta is empty")), "-m", "seed=0,1")
    assert "  tiny_masked x demo: a.fasta is empty" in capsys.readouterr().out.splitlines()


class Recorded(Cells):
    """A task whose cells leave a scalar."""

    def __call__(self, config: DictConfig, console: Console) -> Path:
        folder = super().__call__(config, console)
        folder.mkdir(parents=True, exist_ok=True)
        scalars = {"scalars": {"accuracy_final": config.seed / 2}, "scalar_intervals": {"accuracy_final": None}}
        write_json(folder / "result.json", {"identity": {"seed": config.seed}, **scalars})
        return folder


def test_a_sweep_ends_in_the_scalars_of_its_cells_and_keeps_them(
    run: Run, capsys: pytest.CaptureFixture[str], empty_folder: Path
) -> None:
    assert run(Recorded(None, InputError("bad"), None), "-m", "seed=0,1,2") == 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if "seed=" in line] == [
        ["tiny_masked,", "seed=0", "0.00"],
        ["tiny_masked,", "seed=2", "1.00"],
    ]
    (own,) = Path("outputs/comparisons").iterdir()
    assert lines[-1] == f"  comparison: {own} (the latest: outputs/comparison.csv)"
    assert own.read_text() == (empty_folder / "outputs" / "comparison.csv").read_text()
    table = pd.read_csv(own)
    assert table[["variant", "scalar", "value"]].to_numpy().tolist() == [
        ["seed=0", "accuracy_final", 0.0],
        ["seed=2", "accuracy_final", 1.0],
    ]


def test_another_sweep_keeps_a_file_of_its_own_and_the_same_one_does_not(run: Run) -> None:
    for seeds, n_files in (("0,1", 1), ("2,3", 2), ("1,0", 2)):
        assert run(Recorded(), "-m", f"seed={seeds}") == 0
        assert len(list(Path("outputs/comparisons").iterdir())) == n_files


def test_a_comparison_that_cannot_be_written_is_code_2_and_says_that_the_records_are_whole(
    run: Run, capsys: pytest.CaptureFixture[str], empty_folder: Path
) -> None:
    (empty_folder / "outputs" / "comparison.csv").mkdir(parents=True)
    assert run(Recorded(), "-m", "seed=0,1") == 2
    line = _only_line(capsys)
    assert line.startswith("error: cannot write outputs/comparison.csv: ")
    assert line.endswith("; the records are whole")


def test_a_sweep_without_scalars_leaves_no_comparison(run: Run, empty_folder: Path) -> None:
    assert run(Cells(), "-m", "seed=0,1") == 0
    assert not list(empty_folder.rglob("comparison.csv"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["model=esm2_9m"],
        ["modle=esm2_8m"],
        ["-m", "model=esm2_8m,esm2_9m"],
        ["dataset.lenght_policy=skip"],
        ["seed"],
        ["control=none,dead_layers"],
        ["dataset.path=a b(c"],
        ["--seed=1"],
        ["--force"],
    ],
    ids=" ".join,
)
def test_a_slip_on_the_command_line_is_code_2_and_one_line_before_anything_runs(
    run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    cells = Cells()
    assert run(cells, *arguments) == 2
    assert _only_line(capsys).startswith("error: ")
    assert cells.seeds == []


def test_the_sweep_flag_may_stand_between_the_overrides(run: Run) -> None:
    cells = Cells()
    assert run(cells, "model=tiny_masked", "-m", "seed=0,1") == 0
    assert cells.seeds == [0, 1]


@pytest.mark.parametrize(
    "argument",
    ["seed=abc", "force=perhaps", "outputs=null", "dataset.size=0", "dataset.size=foo", "objective.mask_fraction=2"],
)
def test_a_wrong_value_is_code_2_and_one_line_with_its_key(
    run: Run, capsys: pytest.CaptureFixture[str], argument: str
) -> None:
    assert run(analyze, *SMALL, argument) == 2
    assert argument.partition("=")[0] in _only_line(capsys)


def test_a_required_value_that_is_not_given_is_code_2_and_named(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(analyze, "model.miniature=true", "dataset=fasta") == 2
    assert _only_line(capsys) == "error: dataset.path is required; give dataset.path=VALUE"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_code_0_and_runs_nothing(run: Run, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    cells = Cells()
    assert run(cells, flag, "model=esm2_9m") == 0
    assert capsys.readouterr().out.startswith("analyze.py: measure")
    assert cells.seeds == []


def test_the_configuration_can_be_printed_and_runs_nothing(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    cells = Cells()
    assert run(cells, "--cfg", "job", "seed=7") == 0
    assert "seed: 7" in capsys.readouterr().out.splitlines()
    assert cells.seeds == []


def test_nothing_is_written_where_the_command_is_run(run: Run, empty_folder: Path) -> None:
    run(Cells())
    assert [path.name for path in empty_folder.iterdir()] == []


@pytest.mark.parametrize("before", [None, "0"])
def test_the_environment_is_left_as_it_was(run: Run, monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    if before is None:
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    else:
        monkeypatch.setenv("HYDRA_FULL_ERROR", before)
    run(Cells(ValueError("boom")))
    assert os.environ.get("HYDRA_FULL_ERROR") == before


@dataclass(frozen=True)
class Finished:
    """A command that was run for real."""

    code: int
    out: str
    err: str
    outputs: Path
    written: dict[Path, int]

    def folders(self) -> list[Path]:
        return sorted(path.parent for path in self.outputs.rglob("status.json"))


def _command(outputs: Path, *arguments: str) -> Finished:
    (outputs.parent / "elsewhere").mkdir(exist_ok=True)
    command = [sys.executable, str(ROOT / "analyze.py"), *arguments, *SMALL, f"outputs={outputs}"]
    environment = os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=outputs.parent / "elsewhere", env=environment
    )
    written = {path: path.stat().st_mtime_ns for path in outputs.rglob("*") if path.is_file()}
    return Finished(done.returncode, done.stdout, done.stderr, outputs, written)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return _command(tmp_path_factory.mktemp("first") / "outputs")


@pytest.fixture(scope="module")
def second(first: Finished) -> Finished:
    return _command(first.outputs)


def test_a_run_is_code_0_and_leaves_a_whole_record(first: Finished) -> None:
    assert first.code == 0
    (folder,) = first.folders()
    record = read_record(folder)
    assert record.result["provenance"]["sequences_measured"] == 4
    assert record.curves["layer"].max() == 4
    assert f"record: {folder}" in first.out


def test_a_run_that_went_well_has_nothing_to_complain_about(first: Finished) -> None:
    assert first.err == ""


def test_a_finished_cell_is_shown_and_not_run_again(first: Finished, second: Finished) -> None:
    assert second.code == 0
    assert second.written == first.written
    assert "was done before and is not run again; force=true repeats it" in second.out
    assert "tiny_masked on demo" in second.out


def test_an_unknown_option_is_code_2_and_one_line_for_real(tmp_path: Path) -> None:
    done = _command(tmp_path / "outputs", "metric=logitlens")
    assert done.code == 2
    assert done.err == "error: unknown option metric=logitlens; did you mean logit_lens?\n"
    assert not done.outputs.exists()


def test_a_missing_fasta_file_is_code_2_and_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "analyze.py"), "dataset=fasta", "dataset.path=absent.fasta", SMALL[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: no such file: absent.fasta; give dataset.path an existing FASTA file\n"


def test_a_sweep_with_a_bad_cell_finishes_the_good_one_and_is_code_2(tmp_path: Path) -> None:
    done = _command(tmp_path / "outputs", "-m", "model=tiny_autoregressive,tiny_masked", "objective=masked")
    assert done.code == 2
    (folder,) = done.folders()
    assert read_record(folder).curves["model"].unique().tolist() == ["tiny_masked"]
    assert "tiny_autoregressive has no mask token" in done.err
    assert "2 cells" in done.out
