"""A family stands for all of its scales; presets of cells; the plan that is shown first."""

import io
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from rich.console import Console

from plmdepth.commands.sweeps import deferred, expanded, plan, scales
from plmdepth.errors import InputError

CONF = Path(__file__).parents[2] / "conf"
ESM2 = ["esm2_8m", "esm2_35m", "esm2_150m", "esm2_650m", "esm2_3b", "esm2_15b"]


def models_of(preset: str) -> list[str]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("analyze", overrides=[f"sweep={preset}"], return_hydra_config=True)
    return [name.strip() for name in config.hydra.sweeper.params.model.split(",")]


def shown(overrides: list[str]) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(plan(CONF, "analyze", overrides))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_a_family_becomes_its_scales_the_smallest_first() -> None:
    assert scales(CONF, "esm2") == ESM2
    assert expanded(CONF, ["-m"], ["model=esm2", "metric=suite"]) == ["model=" + ",".join(ESM2), "metric=suite"]


def test_a_scale_and_a_bundled_model_stay_what_they_are() -> None:
    assert scales(CONF, "esm2_8m") == ["esm2_8m"]
    assert expanded(CONF, ["--multirun"], ["model=tiny_masked,esm2_8m"]) == ["model=tiny_masked,esm2_8m"]


def test_without_the_flag_a_family_is_its_default_scale() -> None:
    assert expanded(CONF, [], ["model=esm2"]) == ["model=esm2"]


def test_an_unknown_family_is_left_to_the_check_of_options() -> None:
    assert expanded(CONF, ["-m"], ["model=esm22"]) == ["model=esm22"]


def test_a_preset_without_the_flag_is_refused() -> None:
    with pytest.raises(InputError, match="sweep=paper is a set of cells; add -m"):
        expanded(CONF, [], ["sweep=paper"])


def test_every_model_names_every_option_that_is_no_family() -> None:
    files = {path.stem: OmegaConf.load(path) for path in CONF.glob("model/*.yaml")}
    options = {name for name, keys in files.items() if keys.get("name", name) == name and keys.get("reads") != "text"}
    for typed in (["sweep=every_model"], ["model=*"]):
        models = expanded(CONF, ["-m"], typed)[-1].removeprefix("model=").split(",")
        assert sorted(models) == sorted(options)


def test_a_model_that_is_typed_wins_over_every_model() -> None:
    assert expanded(CONF, ["-m"], ["sweep=every_model", "model=esm1b"]) == ["sweep=every_model", "model=esm1b_650m"]
    assert expanded(CONF, ["-m"], ["sweep=paper"]) == ["sweep=paper"]


def test_the_papers_sweep_has_six_families_and_twenty_variants() -> None:
    found = models_of("paper")
    assert len(set(found)) == 20
    assert {name.split("_")[0] for name in found} == {"esm2", "esmc", "esm3", "progen2", "dplm", "dplm2"}


def test_the_plan_counts_cells_and_gives_the_size_of_every_model() -> None:
    text = shown(["model=esm2_8m,esm2_650m", "metric=suite,ablation", "seed=0,1,2"])
    assert "12 cells: 2 models x 2 of metric x 3 of seed" in text
    rows = {line.split()[1]: line for line in text.splitlines() if "esm2_" in line}
    assert "7.5 M" in rows["esm2_8m"]
    assert "0.03 GB" in rows["esm2_8m"]
    assert "651.0 M" in rows["esm2_650m"]
    assert "2.60 GB" in rows["esm2_650m"]


def test_the_plan_follows_precision_and_miniatures() -> None:
    assert "1.30 GB" in shown(["model=esm2_650m", "model.dtype=bfloat16"])
    assert "0.1 M" in shown(["model=esm2_650m", "model.miniature=true"])


@pytest.mark.parametrize(
    ("typed", "given"),
    [
        ("dataset.root=DIR", "dataset.root=choice(DIR)"),
        ("dataset.path='my file, (1).fasta'", "dataset.path=choice('my file, (1).fasta')"),
        ("objective.noise_levels=[0.1,0.5]", "objective.noise_levels=choice([0.1,0.5])"),
        ("model.direction=forward,reverse", "model.direction=forward,reverse"),  # is swept already
        *(
            (each, each)
            for each in (
                "model=esm2_8m",
                "seed=1",
                "probe.hidden=null",
                "hydra.sweep.dir=x",
                "+model.x=1",
                "force=true",
            )
        ),
    ],
)
def test_keys_below_a_group_are_set_in_the_cells_alone(typed: str, given: str) -> None:
    assert deferred([typed]) == [given]
    if "choice" in given:
        parser = OverridesParser.create()
        (element,) = parser.parse_override(given).sweep_string_iterator()
        before, after = (parser.parse_override(each) for each in (typed, f"{typed.partition('=')[0]}={element}"))
        assert after.value() == before.value()
        assert after.key_or_group == before.key_or_group


def test_the_plan_names_the_model_where_none_is_typed() -> None:
    text = shown(["metric=logit_lens,residual"])
    assert "2 cells: 1 model x 2 of metric" in text
    assert "tiny_masked" in text
    assert "0.6 M" in text


def test_a_preset_of_keys_that_a_model_lacks_is_refused() -> None:
    refused = r"sweep=noise_levels sets objective\.noise_levels, which model=tiny_masked lacks"
    with pytest.raises(InputError, match=refused):
        plan(CONF, "analyze", ["sweep=noise_levels", "model=tiny_masked"])
    assert "5 cells: 1 model x 5 of objective.noise_levels" in shown(["sweep=noise_levels", "model=tiny_diffusion"])
