from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from plmdepth.commands.objects import build
from plmdepth.errors import InputError
from plmdepth.metrics.translators import Translators, describe
from plmdepth.tuned_lens.recipe import TunedLensRecipe, write_lens
from tests.stacks import stack_of


def test_the_configured_recipe_is_the_default_one(conf: Path) -> None:
    with initialize_config_dir(str(conf), version_base="1.3"):
        config = compose("train", overrides=["probe=tuned_lens"])
    assert build(config, "probe") == TunedLensRecipe()
    assert set(config.probe) - {"_target_"} == set(vars(TunedLensRecipe()))


def test_the_rate_falls_in_a_straight_line() -> None:
    recipe = TunedLensRecipe(steps=4)
    assert [recipe.rate(step) for step in range(6)] == [1, 0.75, 0.5, 0.25, 0, 0]


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("steps", 0, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("valid_every", -1, "at least 1"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", float("nan"), "above 0"),
        ("weight_decay", -0.1, "at least 0"),
        ("held_out", 0.0, "above 0 and below 1"),
        ("held_out", 1.0, "above 0 and below 1"),
    ],
)
def test_options_out_of_range_are_refused(option: str, value: float, rule: str) -> None:
    with pytest.raises(InputError, match=f"^probe.{option} must be {rule}, got {value}$"):
        TunedLensRecipe(**{option: value})  # type: ignore[arg-type]


def test_a_lens_that_diverged_is_not_written(tmp_path: Path) -> None:
    translators = Translators(torch.full((6, 32, 32), torch.nan), torch.zeros(6, 32))
    with pytest.raises(InputError, match=r"diverged; lower probe\.learning_rate"):
        write_lens(tmp_path / "lens", translators, describe(stack_of("esm2"), "esm2"))
    assert not (tmp_path / "lens").exists()
