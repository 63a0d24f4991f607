"""The scalars of many cells side by side: a table to read and one to compute with, from the records alone."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from plmdepth.results.atomic import read_json
from plmdepth.results.identity import Place, flat, place_of

_COLUMNS = ("model", "dataset", "metric", "id", "variant", "n_layers", "scalar", "value", "low", "high")
_HASHES = ("id", "weights", "proteins")
_UNDEFINED = "undefined"
_SEED = "seed"
_OF_SEEDS = (_SEED, "id", "weights")  # what another seed changes; the proteins are the same
_DIGEST, _SHORT = 64, 8  # letters of a hash, and those that tell it from others


@dataclass(frozen=True)
class Row:
    """What the record of one cell says.

    Attributes:
        place: the cell.
        facts: its identity, flat.
        scalars: its numbers, None where undefined.
        intervals: their 95 % intervals, where they have one.
    """

    place: Place
    facts: Mapping[str, Any]
    scalars: Mapping[str, float | None]
    intervals: Mapping[str, Mapping[str, float] | None]


def read_row(folder: Path) -> Row:
    """Return what the record in a folder says."""
    result = read_json(folder / "result.json") or {}
    return Row(
        place_of(folder),
        flat(result.get("identity", {})),
        result.get("scalars", {}),
        result.get("scalar_intervals", {}),
    )


def print_comparison(rows: Sequence[Row], failures: Sequence[tuple[str, str]], console: Console) -> None:
    """Print a row a finished cell, then why the others are missing.

    Args:
        rows: the finished cells.
        failures: name and message of every other cell.
        console: where it goes; a table that is wider is split by its columns.
    """
    console.print(f"{len(rows) + len(failures)} cells{_shared(rows)}", highlight=False, soft_wrap=True)
    seeds = _over_seeds(rows)
    for table in _tables(rows, seeds, console.width):
        console.print(table)
    if seeds:
        console.print("  ±: standard deviation over seeds", highlight=False, markup=False)
    for cell, message in failures:
        console.print(f"  {cell}: {message}", style="red", highlight=False, markup=False, soft_wrap=True)
    if shares := [heading for name, heading in _shown(rows).items() if name == f"{heading}_depth"]:
        note = f"  {', '.join(shares)}: share of the depth (layer / L)"
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def comparison_csv(rows: Sequence[Row]) -> str:
    """Return the long table, one row a cell and scalar, empty where undefined; empty if there is no scalar."""
    lines = [line for row, variant in zip(rows, _variants(rows), strict=True) for line in _lines(row, variant)]
    if not lines:
        return ""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_COLUMNS, *lines])
    return text.getvalue()


def _lines(row: Row, variant: str) -> Iterator[tuple[Any, ...]]:
    place, n_layers = row.place, row.facts.get("model.n_layers")
    for name, value in row.scalars.items():
        ends = row.intervals.get(name) or {}
        cell = (place.model, place.dataset, place.measurement, place.id, variant, n_layers)
        yield (*cell, name, value, ends.get("low"), ends.get("high"))


def _over_seeds(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Return the rows that differ in their seed alone, where there are several, with a name for them together."""
    alike: dict[tuple[Any, ...], list[Row]] = {}
    names: dict[tuple[Any, ...], str] = {}
    for name, row in zip(_named(rows, _told(rows, (*_HASHES, _SEED))), rows, strict=True):
        facts = ((key, str(value)) for key, value in row.facts.items() if _last_word(key) not in _OF_SEEDS)
        group = (*row.place[:-1], *sorted(facts))
        alike.setdefault(group, []).append(row)
        names[group] = name
    groups = [(f"{names[key]}, {len(members)} seeds", members) for key, members in alike.items()]
    return [(name, members) for name, members in groups if len(_seeds(members)) == len(members) > 1]


def _seeds(rows: Sequence[Row]) -> set[Any]:
    return {row.facts[_SEED] for row in rows if _SEED in row.facts}


def _tables(rows: Sequence[Row], seeds: Sequence[tuple[str, Sequence[Row]]], width: int) -> Iterator[Table]:
    """Yield the table, in as many pieces as the width asks for; rows over seeds stand below the cells."""
    labels = _named(rows, _variants(rows))
    widest = max(map(len, [*labels, *(label for label, _ in seeds)]), default=0)
    for number, piece in enumerate(_pieces(rows, seeds, width - widest - 3)) if rows else ():
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("cell")
        for _, heading in piece:
            table.add_column(heading, justify="right", no_wrap=True)
        for label, row in zip(labels, rows, strict=True):
            if not number or any(name in row.scalars for name, _ in piece):  # every cell stands in the first piece
                table.add_row(Text(label), *(_cell(row, name) for name, _ in piece))
        table.add_section()
        for label, group in seeds:
            if any(name in group[0].scalars for name, _ in piece):
                table.add_row(Text(label), *(_mean(group, name) for name, _ in piece))
        yield table


def _pieces(
    rows: Sequence[Row], seeds: Sequence[tuple[str, Sequence[Row]]], room: int
) -> Iterator[list[tuple[str, str]]]:
    """Yield the columns, each a name and a heading, as many at once as there is room for; at least one."""
    piece: list[tuple[str, str]] = []
    left = room
    for name, heading in _shown(rows).items():
        cells = [_cell(row, name) for row in rows] + [_mean(group, name) for _, group in seeds]
        wide = max(map(len, [*heading.splitlines(), *cells])) + 2  # and the space beside it
        if piece and wide > left:
            yield piece
            piece, left = [], room
        piece.append((name, heading))
        left -= wide
    yield piece


def _shown(rows: Sequence[Row]) -> dict[str, str]:
    """Return the scalars that any cell has, each with its heading; of a depth in layers, its share of L alone."""
    names = dict.fromkeys(name for row in rows for name in row.scalars if not _for_the_file(name))
    shares = {f"{name}_depth": name for name in names if f"{name}_depth" in names}
    headings = {name: shares.get(name, "\n".join(name.rsplit("_", 1))) for name in names}
    return {name: heading for name, heading in headings.items() if name not in shares.values()}


def _for_the_file(name: str) -> bool:
    """Say whether a scalar of a probe is for comparison.csv alone: the table keeps what answers which layer to take."""
    alone = name.endswith(("_last", "_composition")) and not name.endswith("_over_composition")
    return name.startswith("valid_") or "_identity_" in name or alone


def _cell(row: Row, name: str) -> str:
    if name not in row.scalars:
        return ""
    value, interval = row.scalars[name], row.intervals.get(name)
    if value is None:
        return _UNDEFINED
    return _number(value) + (f" [{_number(interval['low'])}, {_number(interval['high'])}]" if interval else "")


def _mean(rows: Sequence[Row], name: str) -> str:
    """Return mean and standard deviation of a scalar over cells; undefined where it is so in any of them."""
    values = [row.scalars[name] for row in rows if name in row.scalars]
    known = [value for value in values if value is not None]
    if len(known) < len(rows):
        return _UNDEFINED if values else ""
    return f"{_number(mean(known))} ± {_number(stdev(known))}"


def _number(value: float) -> str:
    return f"{value:.2g}" if 0 < abs(value) < 0.01 else f"{value:.2f}"


def _shared(rows: Sequence[Row]) -> str:
    """Return data set and measurement where they are the same in every row."""
    names = [{row.place.dataset for row in rows}, {row.place.measurement for row in rows}]
    same = [next(iter(each)) for each in names if len(each) == 1]
    return f": {', '.join(same)}" if same else ""


def _named(rows: Sequence[Row], variants: Sequence[str]) -> list[str]:
    """Return a name for every row: its model, and what else tells it from the others."""
    fields = [field for field in ("dataset", "measurement") if len({getattr(row.place, field) for row in rows}) > 1]
    names = [" x ".join([row.place.model, *(getattr(row.place, field) for field in fields)]) for row in rows]
    return [f"{name}, {variant}" if variant else name for name, variant in zip(names, variants, strict=True)]


def _variants(rows: Sequence[Row]) -> list[str]:
    """Return, for every row, what tells it from other rows of the same model, data set and measurement."""
    alike = Counter(row.place[1:-1] for row in rows)
    told = zip(rows, _told(rows, _HASHES), strict=True)
    return [variant or (row.place.id if alike[row.place[1:-1]] > 1 else "") for row, variant in told]


def _told(rows: Sequence[Row], untold: Sequence[str]) -> list[str]:
    """Return, for every row, the facts in which it differs from its like, without some of them."""
    alike: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        alike.setdefault(row.place[1:-1], []).append(row)
    telling = {place: _telling(group, untold) for place, group in alike.items()}
    return [_variant(row, telling[row.place[1:-1]]) for row in rows]


def _telling(rows: Sequence[Row], untold: Sequence[str]) -> dict[str, str]:
    """Return the facts in which rows differ, each with its name: the last word of its key where that is enough."""
    keys = dict.fromkeys(key for row in rows for key in row.facts if _last_word(key) not in untold)
    differing = [key for key in keys if len({str(row.facts.get(key)) for row in rows}) > 1]
    words = Counter(_last_word(key) for key in differing)
    return {key: _last_word(key) if words[_last_word(key)] == 1 else key for key in differing}


def _variant(row: Row, telling: Mapping[str, str]) -> str:
    return " ".join(f"{name}={_value(row.facts[key])}" for key, name in telling.items() if key in row.facts)


def _value(fact: Any) -> str:
    """Return a fact as it is shown, a hash by its beginning."""
    text = str(fact)
    return text[:_SHORT] if len(text) == _DIGEST and not set(text) - set("0123456789abcdef") else text


def _last_word(key: str) -> str:
    """Return the end of a dotted name; ``is``, the name of a class, goes by its group."""
    return key.removesuffix(".is").rsplit(".", 1)[-1]
