"""The tables of models in README.md and docs/models.md, made from ``conf/model``: ``make docs``.

A page marks where a table stands: ``<!-- models: NAME -->`` before it and ``<!-- end -->`` after it.
"""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import OmegaConf

from plmdepth.commands.objects import build
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack

PAGES = ("README.md", "docs/models.md")
_MARKED = re.compile(r"(<!-- models: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """One option of ``conf/model``, as the tables show it.

    Attributes:
        model: what the option configures.
        layers: transformer blocks; of both stacks, the encoder's first, where there are two.
        parameters: of the whole module; tied ones count once.
        default: a family's own name stands for it.
    """

    model: LanguageModel
    layers: tuple[int, ...]
    parameters: int
    default: bool

    @property
    def size(self) -> str:
        """Layers, of both stacks where there are two, and width."""
        return f"{' + '.join(map(str, self.layers))} x {self.model.width}"


@cache
def entries(conf: Path) -> tuple[Entry, ...]:
    """Return every scale of every family by the title of its row, then by size; the bundled models come last."""
    names = {path.stem: _read(path).get("name", path.stem) for path in conf.glob("model/*.yaml")}
    defaults = {name for option, name in names.items() if option != name}
    with initialize_config_dir(str(conf), version_base="1.3"):
        options = (option for option, name in names.items() if option == name)
        models = [build(compose("analyze", overrides=[f"model={option}"]), "model") for option in options]
    found = [_entry(model, model.name in defaults) for model in models]
    return tuple(sorted(found, key=_place))


def _place(entry: Entry) -> tuple[Any, ...]:
    model = entry.model
    title = model.card["title"].casefold()
    return model.weights == "bundled", title, model.family, entry.layers, model.width, model.name


def _entry(model: LanguageModel, default: bool) -> Entry:
    with torch.device("meta"):
        module: Any = model.architecture(model.architecture_config())
    both = module.config.is_encoder_decoder
    stacks = [module.encoder.block, module.decoder.block] if both else [model.anatomy(module).layers]
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Entry(model, tuple(len(layers) for layers in stacks), parameters, default)


def overview(found: Sequence[Entry]) -> list[str]:
    """Return the table of README.md: a row a family, with the size of every scale."""
    heading = ("family", "scales (layers x width)", "objective", "reads", "licence of the weights")
    return _table(
        heading,
        ((title, _sized(row), _objectives(row), reads, licence) for (title, reads, licence, _), row in _rows(found)),
    )


def families(found: Sequence[Entry]) -> list[str]:
    """Return the table of docs/models.md: a row a family, with the source of its licence as a number."""
    heading = ("family", "options", "objective", "reads", "licence of the weights")
    numbers = {source: number for number, source in enumerate(_sources(found), 1)}
    rows = []
    for (title, reads, licence, source), row in _rows(found):
        cited = f"{licence} [{numbers[source]}]" if source else licence
        rows.append((title, " ".join(_names(row, bold=True)), _objectives(row), reads, cited))
    return _table(heading, rows)


def sizes(found: Sequence[Entry]) -> list[str]:
    """Return the table of sizes: a row for all options that are equal in it."""
    rows = []
    for (layers, width, parameters), alike in groupby(
        found, lambda e: (e.layers, e.model.width, _counted(e.parameters))
    ):
        options = " ".join(f"`{each.model.name}`" for each in alike)
        rows.append((options, " + ".join(map(str, layers)), str(width), parameters))
    return _table(("options", "layers", "width", "parameters"), rows)


def licences(found: Sequence[Entry]) -> list[str]:
    """Return the numbered sources of the licences."""
    return [f"{number}. {source}" for number, source in enumerate(_sources(found), 1)]


def measurements(found: Sequence[Entry], conf: Path) -> list[str]:
    """Return the table of what applies to which family that reads proteins: a row for all that are alike."""
    alike: dict[tuple[str, ...], list[str]] = {}
    proteins = (each for each in found if each.model.weights != "bundled" and each.model.reads == "residues")
    for family, members in groupby(proteins, lambda each: each.model.family):
        model = next(members).model
        parts: list[dict[str, Any]] = (
            [{"part": part} for part in ("decoder", "encoder")] if hasattr(model, "part") else [{}]
        )
        for part in parts:
            stack = load_stack(replace(model, miniature=True, **part).resolved(), seed=0)
            shown = f"`{family}`" + "".join(f" with `model.part={value}`" for value in part.values())
            alike.setdefault(_applies(replace(model, **part), stack, conf), []).append(shown)
    heading = ("`model.family`", "metrics", "`metric.scope`", "`control=dead_layers`", "`probe.pooling=cls`")
    return _table(heading, sorted((", ".join(names), *cells) for cells, names in alike.items()))


def _applies(model: LanguageModel, stack: LayerStack, conf: Path) -> tuple[str, ...]:
    scopes = ("all", "future" if stack.anatomy.causal else "targets") if model.predicts else ()
    reads_first = bool(stack.spelling.prefix) and not stack.anatomy.causal
    return (
        "all" if model.predicts else " ".join(f"`{name}`" for name in headless_metrics(conf)),
        " ".join(f"`{scope}`" for scope in scopes),
        "refused" if stack.anatomy.wiring == "post_norm" else "yes",
        "yes" if reads_first else "refused",
    )


def headless_metrics(conf: Path) -> list[str]:
    """Return the options of ``conf/metric`` that need no predictions."""
    targets = {path.stem: _read(path)["_target_"] for path in sorted(conf.glob("metric/*.yaml"))}
    return [name for name, target in targets.items() if not getattr(get_class(target), "needs_head", True)]


def _read(path: Path) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(OmegaConf.load(path))
    return dict(content)


def _rows(found: Sequence[Entry]) -> Iterable[tuple[tuple[str, str, str, str], list[Entry]]]:
    """Yield the entries of one row after the other, each with its title, what is read, the licence and its source."""
    keys = ("title", "reads", "licence", "source")
    for card, row in groupby(found, lambda each: tuple(each.model.card.get(key, "") for key in keys)):
        title, reads, licence, source = card
        yield (title, reads, licence, source), list(row)


def _sources(found: Sequence[Entry]) -> list[str]:
    return list(dict.fromkeys(source for (*_, source), _ in _rows(found) if source))


def _objectives(row: Sequence[Entry]) -> str:
    return ", ".join(dict.fromkeys(each.model.objective for each in row))


def _sized(row: Sequence[Entry]) -> str:
    names = iter(_names(row))
    return ", ".join(
        f"{' '.join(next(names) for _ in alike)} {size}" for size, alike in groupby(row, lambda each: each.size)
    )


def _names(row: Sequence[Entry], bold: bool = False) -> list[str]:
    """Return the names of a row's options; after the first, without the beginning that all of them share."""
    names = [each.model.name for each in row]
    prefix = f"{row[0].model.family}_"
    short = any(each.default for each in row) and all(name.startswith(prefix) for name in names)
    shown = [name.removeprefix(prefix) if short and place else name for place, name in enumerate(names)]
    return [
        f"**`{name}`**" if bold and each.default and len(row) > 1 else f"`{name}`"
        for each, name in zip(row, shown, strict=True)
    ]


def _counted(parameters: int) -> str:
    return f"{parameters / 1e9:.3g} G" if parameters >= 1e9 else f"{parameters / 1e6:.3g} M"


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [heading, ["---"] * len(heading), *rows]
    return ["|" + "|".join(line) + "|" if line[0] == "---" else f"| {' | '.join(line)} |" for line in lines]


def filled(page: str, conf: Path) -> str:
    """Return a page with every marked table made anew."""
    found = entries(conf)
    tables: dict[str, Callable[[], list[str]]] = {
        "overview": lambda: overview(found),
        "families": lambda: families(found),
        "sizes": lambda: sizes(found),
        "measurements": lambda: measurements(found, conf),
        "licences": lambda: licences(found),
    }
    return _MARKED.sub(lambda match: match[1] + "".join(f"{line}\n" for line in tables[match[2]]()) + match[3], page)


def main(root: Path) -> None:
    """Make the tables of all pages anew."""
    for name in PAGES:
        page = root / name
        page.write_text(filled(page.read_text(encoding="utf-8"), root / "conf"), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
