"""docs/models.md against what the options build: sizes, objectives, and what is refused where."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from plmdepth.controls.dead_layers import DeadLayers
from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack
from plmdepth.objectives.objective import Example
from plmdepth.probes.layerwise.features import check_pooling, pooled_states, spelt
from plmdepth.proteins.protein import Protein
from tests.language_models.sizes import CONF, built_size, configured, options, scale_of

PAGE = (CONF.parent / "docs" / "models.md").read_text(encoding="utf-8")
README = (CONF.parent / "README.md").read_text(encoding="utf-8")
PROTEIN = Protein("one", "MKTVRQERLK")
SCOPES = ("all", "targets", "future")
QUICK = {"integrated_gradients": {"nodes": 4, "max_nodes": 4}}
OPTION_OF = {
    **{"ESM-2": "esm2_8m", "ESM-1b": "esm1b", "ESM-1v": "esm1v", "ESM-C": "esmc", "ESM3": "esm3", "SaProt": "saprot"},
    **{"DPLM": "dplm", "DPLM-2": "dplm2", "ProGen2": "progen2", "ProtGPT2": "protgpt2"},
    **{"BERT": "bert_base", "ProtBERT": "prot_bert", "ALBERT": "albert_xxlarge", "ProtAlbert": "prot_albert"},
    **{"XLNet": "xlnet_large", "ProtXLNet": "prot_xlnet"},
    **{"T5": "t5_3b", "ProtT5": "prot_t5_xl_u50", "Ankh": "ankh", "ProstT5": "prost_t5"},
}


def rows_under(first_cell: str, page: str = PAGE) -> list[list[str]]:
    """Return the cells of the table whose heading begins with a cell."""
    lines = page[page.index(f"\n| {first_cell} |") :].splitlines()[3:]
    table = lines[: next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def options_in(cell: str) -> list[str]:
    """Return the options that a cell names; a part of a name stands for the scale of the one before it."""
    found: list[str] = []
    for token in re.findall("`([^`]+)`", cell):
        found.append(token if token in options() else f"{found[-1].rpartition('_')[0]}_{token}")
    return found


def counted(parameters: int) -> str:
    return f"{parameters / 1e9:.3g} G" if parameters >= 1e9 else f"{parameters / 1e6:.3g} M"


SIZES = [(option, row) for row in rows_under("options") for option in options_in(row[0])]
FAMILIES = [(option, row) for row in rows_under("family") for option in options_in(row[1])]
MEASURED = [
    (OPTION_OF[name], row) for row in rows_under("models") for name in re.split(", ", row[0].partition(" with ")[0])
]


@pytest.mark.parametrize("table", [SIZES, FAMILIES], ids=["sizes", "families"])
def test_every_option_is_documented_once_and_no_other(table: list[tuple[str, list[str]]]) -> None:
    assert sorted(option for option, _ in table) == sorted(options())


@pytest.mark.parametrize(("option", "row"), SIZES)
def test_a_documented_size_is_the_built_one(option: str, row: list[str]) -> None:
    size = built_size(option)
    assert row[1:] == [" + ".join(map(str, size.layers)), str(size.width), counted(size.parameters)]


def test_the_readme_names_every_option_with_its_layers_and_width() -> None:
    found: dict[str, str] = {}
    for row in rows_under("family", README):
        names = iter(options_in(row[1]))
        for scales in row[1].split(","):
            size = re.sub("`[^`]+`", "", scales).strip()
            found |= {next(names): size for _ in re.findall("`[^`]+`", scales)}
    built = {option: built_size(option) for option in options()}
    assert found == {name: f"{' + '.join(map(str, size.layers))} x {size.width}" for name, size in built.items()}


def test_a_family_without_a_scale_is_the_bold_one() -> None:
    bold = {option for _, row in FAMILIES for option in options_in(row[1]) if f"**`{option}`**" in full(row[1])}
    alone = {option for option, row in FAMILIES if len(options_in(row[1])) == 1}
    defaults = {name for option, name in scale_of().items() if name != option}
    assert bold <= defaults <= bold | alone


def full(cell: str) -> str:
    """Return a cell with its scales spelt out."""
    names = iter(options_in(cell))
    return re.sub("`[^`]+`", lambda _: f"`{next(names)}`", cell)


@pytest.mark.parametrize(("option", "row"), FAMILIES)
def test_the_documented_objective_and_what_is_read_are_the_models_own(option: str, row: list[str]) -> None:
    model = configured(option)
    assert row[2] == model.objective == configured(option, group="objective").name
    assert (len(model.modalities) > 1) == bool(re.search("structure|coordinates|3Di", row[3]))


def test_every_licence_has_its_source() -> None:
    cited = {int(number) for _, row in FAMILIES for number in re.findall(r"\[(\d+)\]", row[4])}
    sources = re.findall(r"^(\d+)\. .*https://", PAGE, re.MULTILINE)
    assert cited == {int(number) for number in sources} == set(range(1, len(sources) + 1))
    assert all(re.search(r"\[\d+\]$", row[4]) or row[0].startswith("bundled") for _, row in FAMILIES)


@cache
def measurements() -> dict[str, Any]:
    """Return every metric that measures by itself, once a scope where it has scopes."""
    found: dict[str, Any] = {}
    for path in sorted((CONF / "metric").glob("*.yaml")):
        metric = configured("tiny_masked", f"metric={path.stem}", group="metric")
        metric = replace(metric, **QUICK.get(path.stem, {}))
        if hasattr(metric, "scope"):
            found |= {f"{path.stem} {scope}": replace(metric, scope=scope) for scope in SCOPES}
        elif hasattr(metric, "measure"):
            found[path.stem] = metric
    return found


def refused(stack: LayerStack, example: Example) -> Iterator[str]:
    for name, metric in measurements().items():
        try:
            ready = metric.prepared(stack, [example]) if hasattr(metric, "prepared") else metric
            ready.measure(stack, example)
        except InputError:
            yield name


def allowed(row: list[str]) -> set[str]:
    """Return what a row says is measured."""
    metrics, scopes = row[1].strip("`"), re.findall("`([^`]+)`", row[2])
    scoped = {name for name in measurements() if " " in name}
    plain = set(measurements()) - scoped if metrics == "all" else {metrics}
    return plain | {name for name in scoped if name.partition(" ")[2] in scopes}


@pytest.mark.parametrize(("option", "row"), MEASURED)
def test_what_is_refused_is_documented(option: str, row: list[str]) -> None:
    part = re.findall("`(model.part=[a-z]+)`", row[0])
    model = configured(option, "model.miniature=true", *part)
    stack = load_stack(model, seed=0)
    example = configured(option, group="objective").present([PROTEIN], stack.spelling, 0)
    assert set(measurements()) - set(refused(stack, example)) == allowed(row)
    assert stops(lambda: check_pooling(stack, "cls")) == (row[4] == "refused")
    if part != ["model.part=decoder"]:
        states = pooled_states(stack, spelt(stack, [PROTEIN.sequence], "cpu"), "mean")
        assert states.shape == (1, stack.n_layers + 1, stack.width)
        assert torch.isfinite(states).all()
    assert stops(lambda: DeadLayers().stack(stack)) == (row[3] == "refused")


def stops(attempt: Any) -> bool:
    try:
        attempt()
    except InputError:
        return True
    return False


def test_every_family_has_a_row_of_measurements() -> None:
    families = {configured(option).family for option, _ in MEASURED}
    assert families == {configured(option).family for option in options() if "tiny" not in option}
