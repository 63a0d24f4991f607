"""The architecture of every option at its true size, on no device: it has the published number of parameters."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from plmdepth.commands.objects import build

CONF = Path(__file__).parents[2] / "conf"
PARAMETERS = {
    # ESM-2 with its contact head; the tied decoder counts once
    "esm2_8m": 7_512_474,
    "esm2_35m": 33_501_394,
    "esm2_150m": 148_140_154,
    "esm2_650m": 651_043_254,
    "esm2_3b": 2_839_005_634,
    "esm2_15b": 15_129_100_194,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_model_has_the_published_number_of_parameters(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        model = build(compose("analyze", overrides=[f"model={name}"]), "model")
    with torch.device("meta"):
        module = model.architecture(model.architecture_config())
    assert sum(parameter.numel() for parameter in module.parameters()) == PARAMETERS[name]


def test_every_size_of_every_family_is_counted() -> None:
    named = {path.stem: OmegaConf.load(path)["name"] for path in CONF.glob("model/*.yaml")}
    assert set(PARAMETERS) == {option for option, name in named.items() if name == option and "tiny" not in name}
