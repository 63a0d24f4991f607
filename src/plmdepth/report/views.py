"""What is shown and drawn of a record follows from what it holds."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from plmdepth.quoting import command
from plmdepth.report.contact_figure import write_contact_figure
from plmdepth.report.contact_ranking import print_contact_ranking
from plmdepth.report.depth_figure import write_depth_figure
from plmdepth.report.exit_answers import print_exits
from plmdepth.report.exit_figures import write_exit_figures
from plmdepth.report.figures import write_figures
from plmdepth.report.probe_figure import write_probe_figures
from plmdepth.report.published import write_published
from plmdepth.report.ranking import print_ranking
from plmdepth.report.terminal import print_record
from plmdepth.results.identity import place_of
from plmdepth.results.record import Record, read_record


class View(NamedTuple):
    """How records of one kind are shown.

    Attributes:
        mark: a file that they alone hold.
        show: prints the answer.
        draw: adds figures to the folder of the record.
    """

    mark: str
    show: Callable[[Record, Console], None]
    draw: Callable[[Record], object]


def show(folder: Path, console: Console) -> None:
    """Print what a finished record answers."""
    record = read_record(folder)
    _view_of(record).show(record, console)


def draw(folder: Path) -> None:
    """Add the figures of a finished record to its folder."""
    record = read_record(folder)
    _view_of(record).draw(record)


def _show_lens(record: Record, console: Console) -> None:
    print_record(record, console)
    model, lens = place_of(record.folder).model, record.folder / "lens"
    use = command("analyze.py", model=model, metric="logit_lens", lens="tuned", lens__path=lens)
    console.print(f"  read with it: {use}", highlight=False, markup=False, soft_wrap=True)


def _show_heads(record: Record, console: Console) -> None:
    print_ranking(record, console)
    curves = record.curves.dropna(subset=["value"])
    if curves["layer"].nunique() == curves["n_layers"].iloc[0] + 1:  # each layer has a head
        use = command("analyze.py", exit="early", probe_run=record.folder)
        console.print(f"  leave early: {use}", highlight=False, markup=False, soft_wrap=True)


def _show_training(record: Record, console: Console) -> None:
    weights = record.folder / "weights"
    console.print((weights / "README.md").read_text(encoding="utf-8"), highlight=False, markup=False)
    console.print(f"weights: {weights}", highlight=False, markup=False, soft_wrap=True)


def _draw_curves(record: Record) -> None:
    figures, result = record.folder / "figures", record.result
    quantities = result.get("quantities", {})
    if "sources" in result:
        write_depth_figure(result["scalars"], result["scalar_intervals"], record.curves, figures, quantities)
    else:
        write_figures(record.curves, record.matrices, figures, quantities)


def _draw_exits(record: Record) -> None:
    write_exit_figures(record.folder)
    write_published(record.folder)


def _draw_nothing(record: Record) -> None:
    """Draw nothing."""


_VIEWS = (
    View("exits.csv", print_exits, _draw_exits),
    View("regressions.safetensors", print_contact_ranking, lambda record: write_contact_figure(record.folder)),
    View("heads.safetensors", _show_heads, lambda record: write_probe_figures(record.folder)),
    View("lens/lens.json", _show_lens, _draw_nothing),
    View("weights/README.md", _show_training, _draw_nothing),
    View("curves.parquet", print_record, _draw_curves),
)
"""The first whose file a record holds."""


def _view_of(record: Record) -> View:
    return next(view for view in _VIEWS if (record.folder / view.mark).exists())
