"""From the command line: the parts are cells like any other, and their records are shared in both directions."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from plmdepth.commands.analyze import analyze
from plmdepth.commands.entry import main
from plmdepth.commands.train import train
from plmdepth.results.record import read_record

SMALL = ("model.miniature=true", "dataset.size=4")
METRICS = ("suite", "layer_skip", "effective_depth")
Run = Callable[..., int]


@pytest.fixture
def run(conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("plmdepth.commands.cells.draw", lambda _: None)  # it takes most of the time

    def run(*arguments: str, entry: str = "analyze", conf: Path = conf) -> int:
        monkeypatch.setattr(sys, "argv", [f"{entry}.py", *arguments, *SMALL])
        GlobalHydra.instance().clear()
        return main(conf, entry, {"analyze": analyze, "train": train}[entry])

    return run


def _cells(outputs: Path, model: str = "tiny_masked") -> dict[str, list[Path]]:
    """The folders of finished records by metric."""
    found = {name: sorted((outputs / "analyze" / model / "demo" / name).glob("*/result.json")) for name in METRICS}
    return {name: [path.parent for path in paths] for name, paths in found.items()}


def _written(outputs: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in outputs.rglob("*") if path.is_file()}


def _refusal(run: Run, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run("metric=effective_depth", *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_part_is_the_very_cell_that_its_metric_alone_would_be(run: Run, tmp_path: Path) -> None:
    assert run("metric=effective_depth", "metric.parts.layer_skip.reduction=mean") == 0
    (suite,), (skip,), (whole,) = _cells(tmp_path / "outputs").values()
    configs = [(folder / "config.yaml").read_text() for folder in (suite, skip)]
    (tmp_path / "outputs").rename(tmp_path / "before")
    assert run("metric=suite") == run("metric=layer_skip", "metric.reduction=mean") == 0
    (same_suite,), (same_skip,), nothing = _cells(tmp_path / "outputs").values()
    assert (same_suite, same_skip, nothing) == (suite, skip, [])
    assert [(folder / "config.yaml").read_text() for folder in (same_suite, same_skip)] == configs
    sources = read_record(tmp_path / "before" / whole.relative_to(tmp_path / "outputs")).result["sources"]
    assert sources == {"suite": suite.name, "layer_skip": skip.name}


def test_records_are_shared_in_both_directions(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = tmp_path / "outputs"
    assert run("metric=layer_skip") == 0
    alone = _written(outputs)
    capsys.readouterr()
    assert run("metric=effective_depth") == 0
    assert "tiny_masked x demo x layer_skip was done before" in capsys.readouterr().out
    together = _written(outputs)
    assert alone.items() <= together.items()
    for metric in ("suite", "layer_skip", "effective_depth"):
        assert run(f"metric={metric}") == 0
        assert f"tiny_masked x demo x {metric} was done before" in capsys.readouterr().out
    assert _written(outputs) == together
    assert [len(folders) for folders in _cells(outputs).values()] == [1, 1, 1]


def test_force_repeats_the_parts_too(run: Run, tmp_path: Path) -> None:
    assert run("metric=effective_depth") == 0
    before = _written(tmp_path / "outputs")
    assert run("metric=effective_depth", "force=true") == 0
    after = _written(tmp_path / "outputs")
    assert after.keys() == before.keys()
    assert all(after[path] > before[path] for path in before)


def test_a_dead_upper_half_is_read_as_half_at_most(run: Run, tmp_path: Path) -> None:
    assert run("metric=effective_depth", "control=dead_layers") == 0
    scalars = read_record(_cells(tmp_path / "outputs")["effective_depth"][0]).result["scalars"]
    assert scalars["ed_kl"] <= 2
    assert scalars["ed_skip"] == 1  # of four layers two are alive, and only the first has one above it
    assert scalars["ed_cosine"] is None or scalars["ed_cosine"] <= 2


def test_a_lens_belongs_to_the_part_that_reads_through_it(run: Run, tmp_path: Path) -> None:
    assert run("probe=tuned_lens", "probe.steps=2", "probe.batch_size=2", entry="train") == 0
    (lens,) = tmp_path.glob("outputs/train/tiny_masked/demo/tuned_lens/*/lens")
    tuned = ("lens=tuned", f"lens.path={lens}")
    assert run("metric=effective_depth", *tuned) == 0
    parts = _cells(tmp_path / "outputs")
    assert run("metric=suite", *tuned) == run("metric=layer_skip") == 0
    assert _cells(tmp_path / "outputs") == parts
    assert run("metric=effective_depth") == 0
    both = _cells(tmp_path / "outputs")
    assert [len(folders) for folders in both.values()] == [2, 1, 2]


def test_a_sweep_over_models_ends_in_a_table_of_depths(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ("-m", "model=tiny_masked,tiny_autoregressive", "metric=effective_depth")
    assert run("metric=effective_depth") == 0  # what was done before counts as well
    assert run(*sweep) == 0
    lines = capsys.readouterr().out.splitlines()
    table = lines[lines.index("2 cells: demo, effective_depth") :]
    assert next(line.split() for line in table if "cell " in line) == [
        "cell", "ed_kl", "ed_overlap", "ed_cosine", "ed_skip"
    ]  # fmt: skip
    for model in ("tiny_masked", "tiny_autoregressive"):
        (folder,) = _cells(tmp_path / "outputs", model)["effective_depth"]
        share = read_record(folder).result["scalars"]["ed_kl_depth"]
        assert any(line.split()[:2] == [model, f"{share:.2f}"] for line in table)
    assert table[-1].endswith("(the latest: outputs/comparison.csv)")
    assert max(len(line) for line in table[:-1]) <= 100


def test_the_record_can_be_tracked(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    assert run("metric=effective_depth", "tracking=wandb") == 0
    runs = sorted(path.name.split("-", 3)[-1] for path in (tmp_path / "wandb").glob("offline-run-*"))
    cells = [folders[0] for folders in _cells(tmp_path / "outputs").values()]
    assert runs == sorted(f"tiny_masked-{folder.parent.name}-{folder.name}" for folder in cells)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("metric.parts={}", "error: metric.parts={} would change nothing"),
        ("metric.parts=null", "error: metric.parts=None: expected a valid dictionary"),
        ("+metric.parts.foo=3", "error: metric.parts.foo is not a measurement of its own"),
        ("metric.parts.layer_skip.reduction=meen", "error: metric.parts.layer_skip.reduction=meen: expected 'mean'"),
        ("+metric.parts.layer_skip.foo=3", "error: unknown key metric.parts.layer_skip.foo"),
        ("lens=tuned", "error: lens.path is required; give lens.path=VALUE"),
        ("lens.path=absent", "error: unknown key lens.path"),
    ],
)
def test_what_is_wrong_with_a_part_is_one_line_before_anything_runs(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], argument: str, message: str
) -> None:
    assert _refusal(run, capsys, argument).startswith(message)
    assert not (tmp_path / "outputs").exists()


def test_a_part_that_fails_fails_the_cell_with_its_own_message(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "metric.scope=future is for autoregressive models" in _refusal(
        run, capsys, "metric.parts.layer_skip.scope=future"
    )
    assert [len(folders) for folders in _cells(tmp_path / "outputs").values()] == [1, 0, 0]


@pytest.fixture
def skips_alone(conf: Path, tmp_path: Path) -> Path:
    """A configuration with an option ``metric=skips`` that reads layer_skip alone."""
    own = tmp_path / "conf"
    shutil.copytree(conf, own)
    text = (own / "metric" / "effective_depth.yaml").read_text()
    (own / "metric" / "skips.yaml").write_text(text.replace("  - suite@parts.suite\n", ""))
    return own


def test_another_choice_of_parts_is_an_option_of_its_own(run: Run, skips_alone: Path, tmp_path: Path) -> None:
    assert run("metric=skips", conf=skips_alone) == 0
    (result,) = tmp_path.glob("outputs/analyze/tiny_masked/demo/skips/*/result.json")
    assert list(read_record(result.parent).result["scalars"]) == ["ed_skip", "ed_skip_depth"]


def test_a_lens_that_no_part_reads_through_is_refused(
    run: Run, skips_alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("probe=tuned_lens", "probe.steps=2", "probe.batch_size=2", entry="train") == 0
    (lens,) = tmp_path.glob("outputs/train/tiny_masked/demo/tuned_lens/*/lens")
    capsys.readouterr()
    assert run("metric=skips", "lens=tuned", f"lens.path={lens}", conf=skips_alone) == 2
    expected = "error: metric=skips reads no state through a lens; leave out lens=tuned\n"
    assert capsys.readouterr().err == expected
