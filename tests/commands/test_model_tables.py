"""The tables of models: current, true of what the options build, and of what is refused where."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from plmdepth.commands.model_tables import PAGES, Entry, entries, filled
from plmdepth.commands.objects import build
from plmdepth.controls.dead_layers import DeadLayers
from plmdepth.errors import InputError
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack
from plmdepth.objectives.objective import Example
from plmdepth.probes.layerwise.features import check_pooling
from plmdepth.proteins.protein import Protein
from tests.stacks import cases, example_for

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
PROTEIN = Protein("one", "MKTVRQERLK")
SCOPES = ("all", "targets", "future")
QUICK = {"integrated_gradients": {"nodes": 4, "max_nodes": 4}}
COUNTED = [(option, number) for case in cases() for option, number in case.parameters.items()]


@cache
def by_name() -> dict[str, Entry]:
    GlobalHydra.instance().clear()
    return {entry.model.name: entry for entry in entries(CONF)}


def table(name: str) -> list[list[str]]:
    """Return the cells of a marked table of docs/models.md."""
    text = PAGE[PAGE.index(f"<!-- models: {name} -->") :]
    lines = text[: text.index("<!-- end -->")].splitlines()[3:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


MEASURED = [(name, row) for row in table("measurements") for name in row[0].split(", ")]


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_are_current(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert "<!-- models: " in text
    assert filled(text, CONF) == text, "run make docs"


@pytest.mark.parametrize(("option", "number"), COUNTED)
def test_a_model_has_the_published_number_of_parameters(option: str, number: int) -> None:
    assert by_name()[option].parameters == number


def test_every_option_of_every_family_is_counted_by_the_tests_of_one() -> None:
    assert sorted(option for option, _ in COUNTED) == sorted(name for name in by_name() if "tiny" not in name)


def test_the_table_of_sizes_has_every_option_once_with_what_is_built() -> None:
    found = {option: row[1:] for row in table("sizes") for option in re.findall("`([^`]+)`", row[0])}
    assert found.keys() == by_name().keys()
    for name, (layers, width, parameters) in found.items():
        assert int(layers.split(" + ")[0]) == by_name()[name].model.n_layers
        assert int(width) == by_name()[name].model.width
        number, unit = parameters.split()
        assert float(number) * {"M": 1e6, "G": 1e9}[unit] == pytest.approx(by_name()[name].parameters, rel=5e-3)


def test_every_card_is_whole_and_every_licence_has_its_source() -> None:
    for name, entry in by_name().items():
        assert entry.model.card.keys() == {"title", "reads", "licence", "source"}, name
        assert bool(entry.model.card["source"]) == (entry.model.weights != "bundled"), name
        reads = entry.model.card["reads"]
        assert (len(entry.model.modalities) > 1) == bool(re.search("structure|coordinates|3Di", reads)), name
    cited = {int(number) for row in table("families") for number in re.findall(r"\[(\d+)\]", row[4])}
    sources = re.findall(r"^(\d+)\. .*https://", PAGE, re.MULTILINE)
    assert cited == {int(number) for number in sources} == set(range(1, len(sources) + 1))


def composed(group: str, *overrides: str) -> Any:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build(compose("analyze", overrides=list(overrides)), group)


@cache
def measurements() -> dict[str, Any]:
    """Return every metric that measures by itself, once a scope where it has scopes."""
    found: dict[str, Any] = {}
    for path in sorted((CONF / "metric").glob("*.yaml")):
        metric = composed("metric", f"metric={path.stem}")
        metric = replace(metric, **QUICK.get(path.stem, {}))
        if hasattr(metric, "scope"):
            found |= {f"{path.stem} {scope}": replace(metric, scope=scope) for scope in SCOPES}
        elif hasattr(metric, "measure"):
            found[path.stem] = metric
    return found


def refused(stack: LayerStack, example: Example) -> Iterator[str]:
    for name, metric in measurements().items():
        try:
            metric.bound(stack).prepared(stack, [example]).measure(stack, example)
        except InputError:
            yield name


def allowed(row: Sequence[str]) -> set[str]:
    """Return what a row says is measured."""
    metrics, scopes = re.findall("`([^`]+)`", row[1]), re.findall("`([^`]+)`", row[2])
    scoped = {name for name in measurements() if " " in name}
    plain = set(measurements()) - scoped if row[1] == "all" else {*metrics}
    return plain | {name for name in scoped if name.partition(" ")[2] in scopes}


@pytest.mark.parametrize(("name", "row"), MEASURED, ids=[name for name, _ in MEASURED])
def test_what_is_refused_is_documented(name: str, row: list[str]) -> None:
    family, *part = re.findall("`([^`]+)`", name)
    model = next(model for model in of_proteins() if model.family == family)
    changes = dict(each.removeprefix("model.").split("=") for each in part)
    stack = load_stack(replace(model, miniature=True, **changes).resolved(), seed=0)
    example = example_for(stack, (PROTEIN,))
    assert set(measurements()) - set(refused(stack, example)) == allowed(row)
    assert stops(lambda: check_pooling(stack, "cls")) == (row[4] == "refused")
    assert stops(lambda: DeadLayers().stack(stack)) == (row[3] == "refused")


def stops(attempt: Any) -> bool:
    try:
        attempt()
    except InputError:
        return True
    return False


def test_every_family_has_a_row_of_measurements() -> None:
    families = {re.findall("`([^`]+)`", name)[0] for name, _ in MEASURED}
    assert families == {model.family for model in of_proteins() if "tiny" not in model.name}


def of_proteins() -> list[LanguageModel]:
    """Return the models that read proteins, in the order of the tables."""
    return [entry.model for entry in by_name().values() if entry.model.reads == "residues"]
