"""``exit=early probe_run=PATH predict=FASTA``: labels of new proteins from a trained probe."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from plmdepth.cells.context import RunContext
from plmdepth.early_exit.prediction import LEFT_OUT, Predictor, Tally, predict_records, predictor_of
from plmdepth.early_exit.run import ExitCell
from plmdepth.early_exit.trained_probe import load_probe
from plmdepth.errors import InputError
from plmdepth.proteins.fasta import read_fasta
from plmdepth.proteins.selection import LengthPolicy, Rules
from plmdepth.report.exit_answers import leaving
from plmdepth.results.file_set import writing_set
from plmdepth.results.growing_table import ENDINGS, GrowingTable
from plmdepth.results.provenance import environment


def predict(run: RunContext, config: DictConfig, console: Console) -> Path:
    """Predict a FASTA file and write a row a protein, what was left out, and how it was done; return the folder.

    Raises:
        InputError: something in the configuration or the file is wrong.
    """
    started, fasta = time.perf_counter(), Path(str(config.predict)).expanduser()
    cell, rules = ExitCell.of(run), _rules(run)
    folder = replace(cell.probe.identity, entry="predictions").folder(run.outputs)
    files = _files(config, folder, fasta)
    n_records = sum(1 for _ in read_fasta(fasta, "predict"))  # what is wrong with it shows before a model is loaded
    predictor = predictor_of(load_probe(cell.probe, cell.run), cell.study)
    with writing_set(files) as (staged, staged_left_out, staged_about):
        tables = GrowingTable(staged, predictor.schema), GrowingTable(staged_left_out, LEFT_OUT)
        with _progress(console, n_records) as advance, tables[0], tables[1]:
            tally = predict_records(predictor, read_fasta(fasta, "predict"), rules, tables, advance)
        about = {**_about(cell, predictor, tally, fasta), "wall_seconds": round(time.perf_counter() - started, 3)}
        staged_about.write_text(json.dumps(about, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    _say(console, predictor, tally, *files[:2])
    return folder


def _rules(run: RunContext) -> Rules:
    """Return the rules of the probe's run, none of them fatal: what it would stop at is left out and listed."""
    rules = run.dataset.rules(run.model.resolved().max_length, run.seed)
    policy: LengthPolicy = "truncate" if rules.length_policy == "truncate" else "skip"
    return replace(rules, length_policy=policy, invalid="skip", limit=None)


def _files(config: DictConfig, folder: Path, fasta: Path) -> tuple[Path, Path, Path]:
    """Return the files to write: the predictions, what was left out, and how it was done.

    Raises:
        InputError: the first has another ending, or is there already, or one would take the place of what is read.
    """
    name = Path(fasta.name.removesuffix(".gz")).stem or "predictions"
    target = folder / f"{name}.csv" if config.predict_to is None else Path(str(config.predict_to)).expanduser()
    if target.suffix not in ENDINGS:
        raise InputError(f"predict_to={config.predict_to}: the name of a file that ends in {' or '.join(ENDINGS)}")
    left_out, about = (
        target.with_name(f"{target.stem}.left_out{target.suffix}"),
        target.with_name(f"{target.name}.json"),
    )
    for path in (target, left_out, about):
        if path.is_dir() or (path.exists() and path.samefile(fasta)):
            what = "a folder" if path.is_dir() else "the file to predict"
            whose = f"predict_to={target} is" if path == target else f"predict_to={target} also writes {path}, which is"
            raise InputError(f"{whose} {what}; give the name of a new file")
    if target.exists() and not config.force:
        raise InputError(f"{target} is there already; force=true replaces it, predict_to=FILE writes another")
    return target, left_out, about


def _about(cell: ExitCell, predictor: Predictor, tally: Tally, fasta: Path) -> dict[str, Any]:
    """Return what determines the predictions, and what was done."""
    with fasta.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "probe_run": cell.probe.identity.id,
        "probe": dict(cell.probe.identity.facts),
        "setting": vars(predictor.setting),
        "confidence": cell.study.confidence,
        "residue_share": _share(predictor),
        "temperatures": [round(each, 4) for each in predictor.probe.temperatures.tolist()],
        "fasta": {"name": fasta.name, "sha256": digest},
        "proteins_predicted": tally.predicted,
        "mean_layers_computed": tally.layers / tally.predicted,
        "n_layers": predictor.probe.stack.n_layers,
        "left_out": dict(tally.skipped),
        "letters_changed": dict(tally.changes),
        **environment(),
    }


def _share(predictor: Predictor) -> float | None:
    """Return the share of a protein's residues that must be sure; None where labels are of proteins."""
    return predictor.confidence.share if predictor.probe.cell.task.kind == "residue" else None


def _say(console: Console, predictor: Predictor, tally: Tally, target: Path, left_out: Path) -> None:
    setting, n_layers = predictor.setting, predictor.probe.stack.n_layers
    mean = tally.layers / tally.predicted
    lines = [
        f"{tally.predicted} proteins predicted with {mean:.1f} of {n_layers} layers on average",
        f"{leaving(setting.threshold, _share(predictor))}, else the fallback is {setting.fallback}"
        if setting.threshold <= 1
        else f"no protein leaves early, the fallback is {setting.fallback}",
    ]
    if setting.term_threshold is not None:
        lines.append(f"labels are the terms with probability {setting.term_threshold:.2f} or more")
    lines += [f"predictions: {target}"]
    if tally.skipped:
        lines.append(f"left out: {tally.skipped.total()} records, listed in {left_out}")
    for line in lines:
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _progress(console: Console, n_records: int) -> Iterator[Callable[[int], None]]:
    """Show a bar over the records; yield what moves it."""
    columns = (TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("predicting", total=n_records)
        yield lambda n: bar.advance(task, n)
