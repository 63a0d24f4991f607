from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from plmdepth.analysis.run import cell_of
from plmdepth.commands.context import analysis_context
from plmdepth.results import identity
from plmdepth.results.identity import Identity, flat, place_of

FACTS = {
    "model": {"name": "esm2_8m", "dtype": "float32"},
    "weights": "sha256:00",
    "objective": {"is": "Diffusion", "noise_levels": [0.2, 0.8]},
    "seed": 0,
}
CELL = Identity("analyze", "esm2_8m", "demo", "residual", FACTS)
SMALL = ("model.weights=random", "model.n_layers=2", "model.width=16", "dataset.size=3")


def _with(**facts: Any) -> Identity:
    return replace(CELL, facts=FACTS | facts)


def _reversed(value: Any) -> Any:
    return {key: _reversed(value[key]) for key in reversed(list(value))} if isinstance(value, dict) else value


def test_the_id_is_known_beforehand() -> None:
    # printf '{"schema": 1, "seed": 0}' | sha256sum
    assert replace(CELL, facts={"seed": 0}).id == "dd925919223f"


def test_the_id_is_twelve_hexadecimal_digits() -> None:
    assert len(CELL.id) == 12
    assert set(CELL.id) <= set("0123456789abcdef")


def test_the_order_of_the_facts_does_not_matter() -> None:
    assert replace(CELL, facts=_reversed(FACTS)).id == CELL.id


@pytest.mark.parametrize(
    "facts",
    [
        {"seed": 1},
        {"seed": "0"},
        {"weights": "sha256:01"},
        {"model": {"name": "esm2_8m", "dtype": "bfloat16"}},
        {"objective": {"is": "Diffusion", "noise_levels": [0.8, 0.2]}},
        {"objective": {"is": "Diffusion", "noise_levels": [0.2]}},
        {"limits": {}},
        {"control": None},
    ],
)
def test_any_fact_that_differs_changes_the_id(facts: dict[str, Any]) -> None:
    assert _with(**facts).id != CELL.id


def test_a_fact_less_changes_the_id() -> None:
    assert replace(CELL, facts={key: FACTS[key] for key in FACTS if key != "seed"}).id != CELL.id


def test_another_version_of_the_record_changes_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    before = CELL.id
    monkeypatch.setattr(identity, "SCHEMA", identity.SCHEMA + 1)
    assert CELL.id != before


def test_the_folder_is_named_after_the_cell() -> None:
    assert CELL.folder(Path("outputs")) == Path("outputs/analyze/esm2_8m/demo/residual") / CELL.id


def test_a_folder_is_read_backwards() -> None:
    outputs = Path("some/outputs")
    assert place_of(CELL.folder(outputs)) == (outputs, "analyze", "esm2_8m", "demo", "residual", CELL.id)


def test_a_nested_configuration_becomes_flat() -> None:
    nested = {"model": {"name": "a", "size": {"layers": 2}}, "seed": 0, "levels": [0.2, 0.8], "limit": None}
    assert flat(nested) == {
        "model.name": "a",
        "model.size.layers": 2,
        "seed": 0,
        "levels": [0.2, 0.8],
        "limit": None,
    }


def test_the_cell_reads_as_model_dataset_and_measurement() -> None:
    assert str(CELL) == "esm2_8m x demo x residual"


@pytest.fixture
def hydra(conf: Path) -> Iterator[None]:
    with initialize_config_dir(str(conf), version_base="1.3"):
        yield
    HydraConfig.instance().cfg = None


def _folder(*overrides: str) -> Path:
    config = compose("analyze", overrides=[*SMALL, *overrides], return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    return cell_of(analysis_context(config)).identity.folder(Path())


NUMBERS_CHANGE = [
    ["seed=1"],
    ["model=tiny_diffusion"],
    ["model.n_layers=3"],
    ["model.width=32"],
    ["model.n_heads=2"],
    ["model.dtype=bfloat16"],
    ["model.miniature=true"],
    ["dataset.size=4"],
    ["dataset.split=valid"],
    ["dataset.grammar_seed=1"],
    ["dataset.limit=2"],
    ["dataset.max_length=50", "dataset.length_policy=truncate"],
    ["objective=diffusion"],
    ["objective.mask_fraction=0.3"],
    ["metric=residual"],
    ["metric=effective_depth"],
    ["metric.metrics.logit_lens.vocabulary=full"],
    ["control=shuffled_residues"],
    ["control=dead_layers"],
    ["control=dead_layers", "control.layers=[1]"],
    ["trainer.precision=bf16-mixed"],
]
NUMBERS_STAY = [
    ["tracking=wandb"],
    ["outputs=elsewhere"],
    ["force=true"],
    ["trainer=gpu"],
    ["trainer.devices=2"],
    ["dataset.tokens_per_batch=100"],
    ["dataset.length_policy=skip"],
    ["dataset.limit=100"],
]


@pytest.mark.usefixtures("hydra")
@pytest.mark.parametrize("overrides", NUMBERS_CHANGE, ids=",".join)
def test_an_option_that_changes_numbers_leads_to_another_folder(overrides: Sequence[str]) -> None:
    assert _folder(*overrides) != _folder()


@pytest.mark.usefixtures("hydra")
@pytest.mark.parametrize("overrides", NUMBERS_STAY, ids=",".join)
def test_an_option_that_changes_no_number_leads_to_the_same_folder(overrides: Sequence[str]) -> None:
    assert _folder(*overrides) == _folder()


@pytest.mark.usefixtures("hydra")
def test_two_settings_of_a_control_do_not_share_a_folder() -> None:
    assert _folder("control=dead_layers", "control.layers=[1]") != _folder("control=dead_layers", "control.layers=[2]")


@pytest.mark.usefixtures("hydra")
@pytest.mark.parametrize("option", ["layer_skip.reduction=mean", "suite.metrics.logit_lens.vocabulary=full"])
def test_an_option_of_a_part_leads_the_whole_to_another_folder(option: str) -> None:
    assert _folder("metric=effective_depth", f"metric.parts.{option}") != _folder("metric=effective_depth")


@pytest.mark.usefixtures("hydra")
def test_an_option_of_a_part_that_changes_speed_alone_changes_nothing() -> None:
    assert _folder("metric=effective_depth", "metric.parts.layer_skip.max_rows=2") == _folder("metric=effective_depth")
